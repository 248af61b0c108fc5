"""Keeps a path that somebody typed inside the folders that the settings allow."""

from collections.abc import Sequence
from pathlib import Path

from domain.errors import Invalid


def confined(roots: Sequence[Path], path: str) -> Path:
    """The real file that ``path`` means: relative to the first of ``roots`` that has it, or absolute inside one.

    Symbolic links are resolved first and the result is compared component by component, so neither ``..`` nor a link
    nor a sibling with a longer name leads outside. A file that does not exist yet is looked for in the first root.
    Raises Invalid.
    """
    if not roots:
        raise Invalid("No media folder is configured. Set MEDIA_ROOTS to the folders whose files may be played.")
    candidates = [_resolve(root, path) for root in roots]
    real = next((candidate for candidate in candidates if candidate.exists()), candidates[0])
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        raise Invalid(f"{path!r} lies outside the media folders. Name a file below one of MEDIA_ROOTS.")
    return real


def _resolve(root: Path, path: str) -> Path:
    try:
        return (root / path).resolve()
    except (ValueError, OSError, RuntimeError) as unreadable:
        raise Invalid(f"{path!r} is not a path that can be followed. Name an ordinary file.") from unreadable
