"""Exceptions of the package: every refusal of bad input is one of these."""


class PpnError(Exception):
    """Base class of all exceptions that ppn_tf raises on purpose."""


class DataError(PpnError, ValueError):
    """Arrays or files that cannot be used: wrong shape, NaN, wrong key."""


class SourceError(PpnError, RuntimeError):
    """A public file could not be had, or is not what it should be."""


class SourceMissingError(SourceError):
    """A public file is neither in the data directory nor downloadable."""


class OptionError(PpnError, ValueError):
    """An unknown name, or an option outside its range."""


class UnstatedError(OptionError):
    """A file leaves open what must be stated.

    Attributes
    ----------
    flags : tuple of str
        Keywords that state it.
    """

    def __init__(self, message: str, flags: tuple[str, ...]) -> None:
        super().__init__(message)
        self.flags = flags

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...]]]:
        """Go through processes whole."""
        return type(self), (str(self), self.flags)


class DeviceError(PpnError, RuntimeError):
    """The requested device is not there."""


class RecordError(PpnError, RuntimeError):
    """A run record or checkpoint could not be written or read."""


class ClusterError(PpnError, RuntimeError):
    """The cluster cannot be reached, or a task on it failed."""


class TrainingError(PpnError, RuntimeError):
    """Training met a value it cannot go on with, such as a NaN loss."""
