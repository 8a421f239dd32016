"""Our member of PEFT's closed enumeration of adapter types. This module alone extends it."""

from __future__ import annotations

from peft import PeftType

from ...catalog.peftfiles import OWN_TYPE


def _extend(name: str) -> PeftType:
    """Add a member to `PeftType`, which PEFT offers no call for, unless it is there."""
    if name in PeftType.__members__:
        return PeftType[name]
    member = str.__new__(PeftType, name)
    member._name_, member._value_ = name, name
    PeftType._member_names_.append(name)
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member
    type.__setattr__(PeftType, name, member)
    return member


FINETUI = _extend(OWN_TYPE)
