"""How the reasons of rejected rows begin; they stand in recon_set_aside_rows and in reports."""

REFUSED = "refused by the table"
"""A constraint or a trigger takes no row like it."""
NOT_KEPT = (
    f"{REFUSED}: the row was written and is not stored: a trigger or rule of the table's owner"
    " drops it"
)
CHANGED = (
    f"{REFUSED}: the row is stored with other figures than were written: a trigger or rule of the"
    " table's owner changes them"
)
TOO_NARROW = "key too narrow"
"""A unique key takes one of two rows."""
BOTH_SENT = f"{TOO_NARROW}: upstream sends"
"""Upstream sends both of them: no stored row stands for the other."""
DOUBLED = f"{BOTH_SENT} several rows with this key"
WITHHELD = "withheld until its date is settled"
"""It would remove or lower something on an unsettled date: written once that is settled."""
NO_PARTITION = "no partition"
OUTSIDE = "outside of the partitions"
