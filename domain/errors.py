"""Every error a caller can meet, one tree, each with a stable code and an HTTP status.

GetiActionError
├── NotFound                    404  no such thing, or not in this project
├── Conflict                    409  the thing's state forbids it now
│   ├── InUse                   409  something else refers to it
│   └── NameTaken               409  the name is another's
├── StaleVersion                412  If-Match names an older version
├── PreconditionRequired        428  without If-Match nobody knows which thing is meant
├── Invalid                     422  well-formed, but cannot be done
│   └── UnknownReference        422  a body names an id that does not exist
├── KeyReused                   422  an Idempotency-Key that came with another body
├── DeviceLocked                423  a device belongs to another session
├── TooLarge                    413  more than the limit
├── UnsupportedMedia            415  a content type that cannot be read here
├── NotAcceptable               406  no codec or format in common
├── Malformed                   400  cannot be parsed
├── DatabaseDamaged             500  the database itself is broken
├── Unavailable                 503  try again: an owner restarts, a device is not obtainable
│   ├── RecordingFailed         503  a session could not open, and is over
│   ├── DeviceError             503  a driver's failure, with what to do about it
│   │   └── DeviceLost          503  the device was there and is gone
│   └── LogBusy                 503  the log's lock was not to be had in time
└── StorageFull                 507  no space left on the storage root
"""

from typing import Any, ClassVar


class GetiActionError(Exception):
    """Base of all. ``detail`` says what is wrong and what to do next; ``extra`` goes into the problem document."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, code: str | None = None, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.error_code = code or self.code
        self.extra = extra

    def __reduce__(self) -> tuple[Any, ...]:
        """Survive pickling between processes with code and extra (Exception's own pickles only args)."""
        return _rebuild, (type(self), self.detail, self.error_code, self.extra)


def _rebuild(kind: type[GetiActionError], detail: str, code: str, extra: dict[str, Any]) -> GetiActionError:
    return kind(detail, code=code, **extra)


class NotFound(GetiActionError):
    """404. ``NotFound.of("camera", id)`` gives the code ``camera_not_found``."""

    status, code, title = 404, "not_found", "Not found"

    @classmethod
    def of(cls, kind: str, key: object) -> "NotFound":
        return cls(f"There is no {kind} {key} here.", code=f"{kind}_not_found")


class Conflict(GetiActionError):
    status, code, title = 409, "conflict", "Conflict"


class InUse(Conflict):
    code = "in_use"


class NameTaken(Conflict):
    code = "name_taken"


class StaleVersion(GetiActionError):
    status, code, title = 412, "stale_version", "Precondition failed"


class PreconditionRequired(GetiActionError):
    status, code, title = 428, "precondition_required", "Precondition required"


class Invalid(GetiActionError):
    status, code, title = 422, "invalid", "Cannot be processed"


class UnknownReference(Invalid):
    code = "unknown_reference"


class KeyReused(Invalid):
    code = "idempotency_key_reused"


class DeviceLocked(GetiActionError):
    status, code, title = 423, "device_locked", "Locked"


class TooLarge(GetiActionError):
    status, code, title = 413, "too_large", "Too large"


class UnsupportedMedia(GetiActionError):
    status, code, title = 415, "unsupported_media_type", "Unsupported media type"


class NotAcceptable(GetiActionError):
    status, code, title = 406, "not_acceptable", "Not acceptable"


class Malformed(GetiActionError):
    status, code, title = 400, "malformed", "Bad request"


class DatabaseDamaged(GetiActionError):
    """Not what was said to it, but the database itself is broken."""

    code, title = "database_damaged", "The database is damaged"


class Unavailable(GetiActionError):
    status, code, title = 503, "unavailable", "Unavailable"
    passes: ClassVar[bool] = True
    """Whether the same request may succeed a moment later."""


class RecordingFailed(Unavailable):
    """A session that could not open stays failed: once what it says is mended, a new one can be opened."""

    code = "recording_failed"
    passes = False


class DeviceError(Unavailable):
    code = "device_error"


class DeviceLost(DeviceError):
    code = "device_lost"


class LogBusy(Unavailable):
    code = "log_busy"


class StorageFull(GetiActionError):
    status, code, title = 507, "storage_full", "Insufficient storage"
