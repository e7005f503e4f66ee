"""What a provider of object storage really does, as a probe has found it, and which lifecycle rules do harm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any

import msgspec

_READ_LATER = {"GLACIER", "DEEP_ARCHIVE"}
"""Classes whose objects must be restored, for hours, before they can be read."""
_SKEW = 300


class Finding(StrEnum):
    """What a trial has shown."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"
    """It could not be tried, or the credential may not ask."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What was found; a record that is kept in the repository."""

    address: str
    at: datetime
    conditional_create: Finding
    """`If-None-Match: *` keeps an object from being replaced."""
    md5: Finding
    """Bytes that do not fit Content-MD5 are refused."""
    sha256: Finding
    """Bytes that do not fit x-amz-checksum-sha256 are refused."""
    metadata: Finding
    """What is written beside an object comes back: tells a lost answer's upload for certain."""
    ranges: Finding
    listed_at_once: Finding
    deletes: Finding
    """The credential may delete."""
    versioning: str
    """`enabled`, `suspended`, `off` or `unknown`."""
    object_lock: str
    """`enforced`, `not enforced`, `off` or `unknown`."""
    clock_skew_seconds: float | None
    """The server's clock less this machine's."""
    lifecycle: str
    """`read`, or `unknown`: the credential may not ask for the rules, or the server has none."""
    dangers: tuple[str, ...] = ()
    """Why the bucket is not fit for a repository."""
    remarks: tuple[str, ...] = ()
    """What an operator should know."""


def judge_lifecycle(rules: Sequence[Mapping[str, Any]], prefix: str) -> tuple[list[str], list[str]]:
    """Return (dangers, remarks): what lifecycle rules do to objects below `prefix`, which have no tags."""
    dangers: list[str] = []
    remarks: list[str] = []
    for number, rule in enumerate(rules, 1):
        if rule.get("Status") != "Enabled" or not _meets(rule, prefix):
            continue
        name = f"the lifecycle rule {rule.get('ID') or number}"
        expiration = rule.get("Expiration", {})
        if "Days" in expiration or "Date" in expiration:
            dangers.append(f"{name} deletes objects after {_when(expiration)}")
        for transition in rule.get("Transitions", []):
            target = str(transition.get("StorageClass", ""))
            told = f"{name} moves objects to {target} after {_when(transition)}"
            if target in _READ_LATER:
                dangers.append(f"{told}, where they cannot be read at once")
            else:
                remarks.append(told)
        if "NoncurrentVersionExpiration" in rule:
            remarks.append(f"{name} removes older versions: that is how a prune's space comes back")
    return dangers, remarks


def remarks_on(found: Probe, rules: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what an operator should know of what was found."""
    remarks = []
    expires = any(rule.get("Status") == "Enabled" and "NoncurrentVersionExpiration" in rule for rule in rules)
    if found.versioning == "enabled" and not expires:
        remarks.append("versioning is on and no rule removes older versions: what a prune deletes is paid for on")
    if found.lifecycle == "unknown":
        remarks.append("the lifecycle rules cannot be read: see to it that none deletes or moves what lies here")
    if found.deletes is Finding.NO:
        remarks.append("this credential may not delete: prune with another one; below locks/ it must")
    if found.object_lock == "not enforced":
        remarks.append("it takes object locks and does not keep them: they protect nothing here")
    if found.ranges is Finding.NO:
        remarks.append("it does not read ranges: each blob costs its whole pack")
    if found.listed_at_once is Finding.NO:
        remarks.append("its listings lag behind: prunes may refuse until they have caught up")
    if found.clock_skew_seconds is not None and abs(found.clock_skew_seconds) > _SKEW:
        remarks.append("the clocks disagree by more than five minutes: prunes refuse")
    return remarks


def _when(act: Mapping[str, Any]) -> str:
    return f"{act['Days']} days" if "Days" in act else str(act.get("Date", "some time"))


def _meets(rule: Mapping[str, Any], prefix: str) -> bool:
    """Whether a rule can concern an object without tags below the prefix."""
    chosen = rule.get("Filter") or {}
    both = chosen.get("And") or {}
    if "Tag" in chosen or both.get("Tags"):
        return False
    theirs = str(rule.get("Prefix") or chosen.get("Prefix") or both.get("Prefix") or "")
    ours = f"{prefix}/" if prefix else ""
    return theirs.startswith(ours) or ours.startswith(theirs)
