# SPDX-License-Identifier: Apache-2.0
"""What the keeper of the memory is asked to do, and how that ends."""

from amaranth.hdl import unsigned
from amaranth.lib import enum
from amaranth.lib.wiring import In, Out, Signature

from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.mram.regions import MAX_REGIONS

EVERYTHING = 15
"""In place of a region's number: all regions and the region table."""
ERASE_KEY = int.from_bytes(b"ERAS", "little")
"""What unlocks ERASE, written to its register after a reset and before anything else is asked for."""


class Procedure(enum.Enum, shape=unsigned(4)):
    """What is done with the memory as a whole (docs/memory.md)."""

    START = 0
    """What a reset does: read the region table, look at every slot."""
    FORMAT = 1
    """Take the region table that lies unsealed in its first copy into use."""
    BEGIN = 2
    """Copy the active task's slot into the other one, which is then trained."""
    COMMIT = 3
    """Make the working slot the active task's state."""
    ROLLBACK = 4
    """Drop the working slot; where there is none, go back to the version before."""
    LOCK = 5
    """Seal a region and lock it for good; a task's is finished then."""
    ACTIVATE = 6
    """Make a region's task the active one."""
    CHECK = 7
    """Compare a region's content with its CRC."""
    ERASE = 8
    """Overwrite a region, or everything, and read it back."""


class KeeperError(enum.Enum, shape=unsigned(4)):
    """Why a procedure ended early."""

    NONE = 0
    UNFORMATTED = 1
    """There is no region table."""
    ORDER = 2
    """Not now: there is a region table already, no task is active, or training is or is not under way."""
    REGION = 3
    """There is no such region, or it is not of the kind or has not the slots for this."""
    LOCKED = 4
    """The region is locked, or erasing is."""
    CONTENT = 5
    """No slot is whole that should be: header or CRC are wrong."""
    ROW = 6
    """A row could not be corrected, read or written, or was not blank after erasing."""
    TABLE = 7
    """The region table is damaged, or none for this machine."""


class MemoryControl(Signature):
    """What the registers tell the keeper and it tells them.

    ``start``: pulse; ``procedure`` and ``region`` hold until it is taken. ``unlocked``: ERASE is allowed. ``ready``:
    the keeper is idle. ``ended``: a procedure that was started has ended in this cycle, with ``error`` and
    ``error_row``. ``formatted``: there is a region table. ``training``: a working slot is open. ``committed``: the
    active task has a whole slot, of ``version``. ``slot``: which one is in use. ``whole``: regions with a whole slot.
    ``writes_locked``: writes that were refused.
    """

    def __init__(self) -> None:
        super().__init__({
            "start": In(1),
            "procedure": In(Procedure),
            "region": In(4),
            "unlocked": In(1),
            "ready": Out(1, init=1),
            "ended": Out(1),
            "error": Out(KeeperError),
            "error_row": Out(ROW_ADDRESS_BITS),
            "formatted": Out(1),
            "training": Out(1),
            "committed": Out(1),
            "slot": Out(1),
            "version": Out(32),
            "whole": Out(MAX_REGIONS),
            "writes_locked": Out(32),
        })
