"""`NamedTuple`, as `typing` has it, at a third of its price.

Before 3.14 typing compiles the annotation of each field into an expression when a class is made:
3 ms for the fifty classes of `pydock run`. Type checkers see typing's own. Generic ones, few, are
typing's own.
"""

import sys
from collections import namedtuple
from typing import TYPE_CHECKING

if TYPE_CHECKING or sys.version_info >= (3, 14):
    from typing import NamedTuple as NamedTuple  # noqa: TID251
else:

    class _OfBody(type):
        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            fields = body.get("__annotations__", {})
            made = namedtuple(
                name,
                fields,
                defaults=[body[field] for field in fields if field in body],
                module=body["__module__"],
            )
            for key, value in body.items():
                if key not in fields and key != "__module__":
                    setattr(made, key, value)
            return made

    class NamedTuple(metaclass=_OfBody):
        pass
