# Copyright: the pyweb.stack contributors
# MIT License (see LICENSE)
"""Follow the links of a source in memory: none of them may lead out of it.

Used on the controller before a source is sent, and on the host before its links are written.
"""

from __future__ import annotations

from collections.abc import Mapping

# A path relative to the source, in parts.
Parts = tuple[str, ...]
# The number of links that the kernel follows on one path.
MOST_LINKS = 40


class OutsideError(ValueError):
    """A path that leads out of the source."""


def followed(path: str, links: Mapping[Parts, str], start: Parts = ()) -> Parts | None:
    """The place to which a path in the folder ``start`` leads when every link on it is followed.

    ``links`` has the target of each link of the source. None for a circle of links. Raises OutsideError.
    """
    place, left, count = list(start), steps(path), 0
    while left:
        step = left.pop()
        if step == "..":
            if not place:
                raise OutsideError(path)
            place.pop()
            continue
        place.append(step)
        target = links.get(tuple(place))
        if target is not None:
            count += 1
            if count > MOST_LINKS:
                return None
            place.pop()
            left += steps(target)
    return tuple(place)


def steps(path: str) -> list[str]:
    """The names of a relative path, the first one last. Raises OutsideError for another path."""
    if path.startswith("/") or "\0" in path:
        raise OutsideError(path)
    return [part for part in path.split("/") if part not in ("", ".")][::-1]


def first_outward(links: Mapping[Parts, str]) -> Parts | None:
    """The first link that leads out of the source, or that is below another link; None if there is none."""
    for path in sorted(links):
        if any(path[:depth] in links for depth in range(1, len(path))):
            return path
        try:
            followed(links[path], links, path[:-1])
        except OutsideError:
            return path
    return None
