"""Where an id in a path ends. ``…/{id}:save_episode`` names a verb behind a colon: one that no route has is an unknown
route (404), not part of an id that cannot be read, nor another route's with the wrong method."""

from starlette.convertors import StringConvertor, register_url_convertor


class _Segment(StringConvertor):
    regex = "[^/:]+"


def end_ids_at_colons() -> None:
    """For every route of this process that is matched from now on."""
    register_url_convertor("str", _Segment())
