"""Fields of frozen dataclasses that know their help, bounds and flag.

A *choice* is a frozen dataclass whose fields are made by `option`; its values are
checked when it is made. A *tree* is a dataclass of choices, such as a recipe. The type
of a tree gives its flags (`flags_of`), a tree and some flags give another tree
(`override`), and a tree gives the value of every flag (`flat`). There is no other list
of names.

options          one field, and the checks of its values: read it first
trees            flags of a tree of choices, `override`, `flat`, `stored`
names            what is meant by a name that there is not
keywords         sentences about flags, for callers who give keywords
effect           flags that need another one
code             a class of one's own as a hash, which tells that it was edited
configurations   what a program or a function is given: flags or keywords
"""

from jaxdd.fields.configurations import (
    check,
    config_class,
    from_keywords,
    understood,
)
from jaxdd.fields.effect import idle, refuse_idle
from jaxdd.fields.options import (
    KINDS,
    LARGEST_SEED,
    Choice,
    FieldError,
    Misfit,
    check_seed,
    option,
    plain,
    type_of,
    variant,
)
from jaxdd.fields.trees import (
    Flag,
    TreeMisfit,
    flags_of,
    flat,
    override,
    stored,
    typed,
)

__all__ = [
    "KINDS",
    "LARGEST_SEED",
    "Choice",
    "FieldError",
    "Flag",
    "Misfit",
    "TreeMisfit",
    "check",
    "check_seed",
    "config_class",
    "flags_of",
    "flat",
    "from_keywords",
    "idle",
    "option",
    "override",
    "plain",
    "refuse_idle",
    "stored",
    "type_of",
    "typed",
    "understood",
    "variant",
]
