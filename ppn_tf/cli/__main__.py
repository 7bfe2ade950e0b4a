"""``python -m ppn_tf.cli``: the same as ``ppn-tf``."""

import sys

from ppn_tf.cli import main

if __name__ == "__main__":
    sys.exit(main())
