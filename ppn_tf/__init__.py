"""PPN: polar coordinate attention for ptychographic imaging.

Importing this package imports neither Keras nor a backend; the submodules do
when they are used.
"""

__version__ = "0.1.0"
