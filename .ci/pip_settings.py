"""Hand the user's own pip settings on: to uv as its environment, to an image build as one pip.conf.

    python3 .ci/pip_settings.py uv                      lines to `eval` in a shell
    python3 .ci/pip_settings.py pip-conf [--ca PATH]    a pip.conf that names PATH as the certificate bundle
    python3 .ci/pip_settings.py cert                    the user's certificate bundle, or an empty line

Runs before anything is installed, so with the standard library alone and without asking pip.
"""

from __future__ import annotations

import configparser
import os
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

# The settings that say where packages come from; all others are pip's business alone.
KEYS = ("index-url", "extra-index-url", "no-index", "find-links", "trusted-host", "proxy", "timeout", "cert")


def configuration_files(environment: Mapping[str, str]) -> list[Path]:
    """Lowest precedence first, as pip reads them."""
    explicit = environment.get("PIP_CONFIG_FILE")
    if explicit == os.devnull:
        return []
    home = Path(environment.get("HOME", "/"))
    files = [Path(folder) / "pip/pip.conf" for folder in environment.get("XDG_CONFIG_DIRS", "/etc/xdg").split(":")]
    files.append(Path("/etc/pip.conf"))
    files.append(home / ".pip/pip.conf")
    files.append(Path(environment.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf")
    if explicit:
        files.append(Path(explicit))
    return files


def pip_settings(environment: Mapping[str, str], files: Iterable[Path]) -> dict[str, str]:
    settings: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser()
        parser.read(file, encoding="utf-8")
        for section in ("global", "install"):
            if parser.has_section(section):
                settings |= {key: value for key, value in parser.items(section) if key in KEYS and value.strip()}
    for key in KEYS:
        value = environment.get("PIP_" + key.upper().replace("-", "_"), "")
        if value.strip():
            settings[key] = value
    if "cert" not in settings and environment.get("SSL_CERT_FILE"):
        settings["cert"] = environment["SSL_CERT_FILE"]
    return settings


def uv_environment(settings: Mapping[str, str]) -> dict[str, str]:
    # pip looks at every index for the best version; so must uv, or the first index that knows a name hides the others.
    environment = {"UV_INDEX_STRATEGY": "unsafe-best-match"}
    names = {
        "index-url": ("UV_DEFAULT_INDEX", " "),
        "extra-index-url": ("UV_INDEX", " "),
        "find-links": ("UV_FIND_LINKS", ","),
        "trusted-host": ("UV_INSECURE_HOST", " "),
        "proxy": ("ALL_PROXY", " "),
        "timeout": ("UV_HTTP_TIMEOUT", " "),
        "cert": ("SSL_CERT_FILE", " "),
    }
    for key, (name, separator) in names.items():
        if key in settings:
            environment[name] = separator.join(settings[key].split())
    if settings.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        environment["UV_NO_INDEX"] = "1"
    return environment


def image_pip_conf(settings: Mapping[str, str], ca_path: str | None) -> str:
    """For a build that sees none of this machine's folders: local `find-links` are left out, `cert` becomes ca_path."""
    kept = dict(settings)
    kept.pop("cert", None)
    if ca_path:
        kept["cert"] = ca_path
    if "find-links" in kept:
        kept["find-links"] = " ".join(
            link for link in kept["find-links"].split() if link.startswith(("http:", "https:"))
        )
    lines = [f"{key} = " + "\n    ".join(value.split()) for key, value in kept.items() if value]
    return "\n".join(["[global]", *lines, ""])


def main(arguments: list[str]) -> int:
    settings = pip_settings(os.environ, configuration_files(os.environ))
    if arguments == ["uv"]:
        for name, value in uv_environment(settings).items():
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    elif arguments == ["cert"]:
        sys.stdout.write(settings.get("cert", "") + "\n")
    elif arguments[:1] == ["pip-conf"] and arguments[1:2] in ([], ["--ca"]) and len(arguments) in {1, 3}:
        sys.stdout.write(image_pip_conf(settings, arguments[2] if arguments[2:] else None))
    else:
        sys.stderr.write(__doc__ or "")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
