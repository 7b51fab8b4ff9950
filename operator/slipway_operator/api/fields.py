"""Types that several blocks of the API share: names, quantities, maps of annotations."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import Field

from slipway_operator.api.schema import Rule, rules

_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_NAME: Final = rf"^{_LABEL}(\\.{_LABEL})*$"


def _dns_name(message: str, *further: Rule) -> Any:
    rule = Rule(f"self.matches('{_DNS_NAME}')", message)
    return Field(min_length=1, max_length=253, json_schema_extra=rules(rule, *further))


ObjectName = Annotated[
    str,
    _dns_name(
        "got '{self}', expected the name of a Kubernetes object: lower-case letters, digits, - and ., with a letter or"
        " digit at both ends. Correct the name."
    ),
]

HostName = Annotated[
    str,
    _dns_name(
        "got '{self}', expected a host name such as models.example.com, in lower case and without scheme, port, path"
        " or *. Correct the name.",
        Rule(
            "!self.matches('^[0-9.]+$')",
            "got '{self}', expected a name and not an address. Write a host name, or leave it out for all hosts.",
        ),
    ),
]

RoutePath = Annotated[
    str,
    Field(
        max_length=1024,
        json_schema_extra=rules(
            Rule(
                r"self.matches('^/([-A-Za-z0-9._~]+(/[-A-Za-z0-9._~]+)*)?$')",
                "got '{self}', expected / or segments such as /models/digits without a slash at the end. Remove"
                " what is not a letter, a digit or one of - . _ ~",
            ),
            Rule(
                r"!self.matches('/[.][.]?(/|$)')",
                "got '{self}', expected a path without the segments . and .. that clients resolve away. Write the"
                " path that they lead to.",
            ),
        ),
    ),
]
"""A prefix of paths at which a model is reached from outside."""

_HOST_PART: Final = "[A-Za-z0-9]([-A-Za-z0-9]*[A-Za-z0-9])?"
_REGISTRY: Final = rf"({_HOST_PART}([.]{_HOST_PART})*|\\[[A-Fa-f0-9:]+\\])(:[0-9]+)?"
_REPOSITORY: Final = "[a-z0-9]+(([.]|_|__|-+)[a-z0-9]+)*"
_DIGEST: Final = "(sha256:[a-f0-9]{64}|sha384:[a-f0-9]{96}|sha512:[a-f0-9]{128})"

ImageReference = Annotated[
    str,
    Field(
        min_length=1,
        max_length=1024,
        json_schema_extra=rules(
            Rule(
                f"self.matches('^({_REGISTRY}/)?{_REPOSITORY}(/{_REPOSITORY})*"
                f"(:[A-Za-z0-9_][-.A-Za-z0-9_]{{0,127}})?(@{_DIGEST})?$')"
                " && !self.matches('^[a-f0-9]{64}$')",
                "got '{self}', expected [REGISTRY[:PORT]/]NAME[:TAG][@sha256:DIGEST] with NAME in lower case, such as"
                " registry.example.com/team/runtime:1.0. Remove spaces and a scheme such as https://, write NAME in"
                " lower case, and give a tag or digest whole or not at all.",
            )
        ),
    ),
]
"""As container runtimes parse it (the grammar of the distribution project)."""

PORT_LIMIT: Final = 65_535
Port = Annotated[int, Field(ge=1, le=PORT_LIMIT)]

Quantity = Annotated[
    int | str,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            **rules(
                Rule(
                    r"string(self).matches('^([0-9]+(\\.[0-9]*)?|\\.[0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][-+]?[0-9]+)?$')",
                    "got '{string(self)}', expected a quantity such as 500m, 2, 1.5 or 4Gi. Write a number and, without"
                    " a space, at most one unit of m, k, M, G, T, Ki, Mi, Gi, Ti.",
                )
            ),
        }
    ),
]

ResourceName = Annotated[str, Field(max_length=253)]

ResourceList = Annotated[
    dict[ResourceName, Quantity],
    Field(
        max_length=16,
        json_schema_extra=rules(
            Rule(
                "self.all(name, name in ['cpu', 'memory', 'ephemeral-storage'] || name.startsWith('hugepages-')"
                " || name.contains('/'))",
                "lists '{self.filter(name, !(name in ['cpu', 'memory', 'ephemeral-storage'])"
                " && !name.startsWith('hugepages-') && !name.contains('/'))[0]}', expected cpu, memory,"
                " ephemeral-storage, hugepages-SIZE or DOMAIN/NAME. Correct the name of the resource.",
            )
        ),
    ),
]


def _keys_match(pattern: str) -> Rule:
    """Of a map's keys; `pattern` is that of [DOMAIN/]NAME for this kind of map."""
    return Rule(
        f"self.all(key, key.matches('{pattern}'))",
        f"lists '{{self.filter(key, !key.matches('{pattern}'))[0]}}', expected [DOMAIN/]NAME of letters, digits, -, _"
        " and '.'. Correct the key.",
    )


_ANNOTATION_KEY: Final = r"^([A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$"

Annotations = Annotated[
    dict[str, Annotated[str, Field(max_length=4096)]],
    Field(
        max_length=64,
        json_schema_extra=rules(_keys_match(_ANNOTATION_KEY)),
    ),
]

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]

_LABEL_KEY: Final = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$"
LABEL_VALUE: Final = "^([A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?)?$"

LabelMap = Annotated[
    dict[LabelKey, Annotated[str, Field(max_length=63)]],
    Field(
        max_length=32,
        json_schema_extra=rules(
            _keys_match(_LABEL_KEY),
            Rule(
                f"self.all(key, self[key].matches('{LABEL_VALUE}'))",
                f"the value of '{{self.filter(key, !self[key].matches('{LABEL_VALUE}'))[0]}}' is no label's, expected"
                " letters, digits, -, _ and '.', with a letter or digit at both ends. Correct the value.",
            ),
        ),
    ),
]

LabelName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=317,
        json_schema_extra=rules(
            Rule(
                f"self.matches('{_LABEL_KEY}')",
                "got '{self}', expected [DOMAIN/]NAME of letters, digits, -, _ and '.', such as"
                " topology.kubernetes.io/zone. Correct it.",
            )
        ),
    ),
]
"""The key of one label, or of one taint."""
