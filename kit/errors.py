"""Errors that a user can put right: what is wrong, where, and what to do next.

The command line prints the message alone and exits with status 2; any other exception is a defect of transferkit and
keeps its traceback.
"""


class UserError(Exception):
    """Base of all errors that a user can put right.

    `what` is one sentence: the thing, the rule it broke, the value received; `hint`, where needed, what to do next.
    `answered`: a command's answer stands on standard output already, and nothing may follow it.
    """

    answered = False

    def __init__(self, what: str, hint: str = ""):
        super().__init__(f"{what}\n{hint}" if hint else what)
        self.what = what
        self.hint = hint

    def __reduce__(self):
        return type(self), (self.what, self.hint)


class ConfigError(UserError):
    """A setting is unknown, of the wrong type, or out of range."""


class BackendError(UserError):
    """The Keras backend asked for is unknown or not installed."""


class DataError(UserError):
    """The images, their labels or their splits cannot be used as they are."""


class WeightsError(UserError):
    """Pretrained weights are missing, damaged or do not fit the model."""


class StorageError(UserError):
    """A file or folder cannot be written or read: disk full, no permission, damaged record."""


class ExportError(UserError):
    """A model cannot be written in a format, or does not answer there as it did."""
