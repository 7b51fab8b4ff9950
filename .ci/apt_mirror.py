"""Print the Debian mirror that this machine's own apt uses, so that no mirror is written down in the repository.

python3 .ci/apt_mirror.py           its address; fails with a message where apt knows none
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path


def _deb822(text: str) -> Iterator[tuple[list[str], list[str], list[str]]]:
    for stanza in text.replace("\r", "").split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith("#"):
                continue
            if line[:1].isspace():
                fields[name] = fields.get(name, "") + " " + line.strip()
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        if "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() not in {"no", "false"}:
            yield fields.get("uris", "").split(), fields.get("suites", "").split(), fields.get("components", "").split()


def _one_line(text: str) -> Iterator[tuple[list[str], list[str], list[str]]]:
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if words[:1] != ["deb"]:
            continue
        if len(words) > 1 and words[1].startswith("["):
            end = next((index for index, word in enumerate(words) if word.endswith("]")), len(words))
            words = [words[0], *words[end + 1 :]]
        if len(words) > 3:
            yield [words[1]], [words[2]], words[3:]


def find_mirror(one_line: list[str], deb822: list[str]) -> str | None:
    """The first http(s) source of a whole Debian release; security and update suites are no release."""
    entries = [entry for text in deb822 for entry in _deb822(text)]
    entries += [entry for text in one_line for entry in _one_line(text)]
    for uris, suites, components in entries:
        is_release = any("-" not in suite and "/" not in suite for suite in suites)
        for uri in uris:
            named_debian = uri.rstrip("/").endswith("debian")
            if is_release and "main" in components and named_debian and uri.startswith(("http://", "https://")):
                return uri.rstrip("/")
    return None


def main() -> int:
    apt = Path("/etc/apt")
    one_line = [
        path.read_text()
        for path in [apt / "sources.list", *sorted(apt.glob("sources.list.d/*.list"))]
        if path.is_file()
    ]
    deb822 = [path.read_text() for path in sorted(apt.glob("sources.list.d/*.sources"))]
    mirror = find_mirror(one_line, deb822)
    if mirror is None:
        sys.stderr.write("apt_mirror: no http(s) mirror of Debian in /etc/apt/sources.list and sources.list.d.\n")
        return 1
    sys.stdout.write(mirror + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
