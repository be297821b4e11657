"""Prefixes of reasons in recon_set_aside_rows and reports."""

REFUSED = "refused by the table"
"""By a constraint or trigger."""
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
"""Both rows are upstream's: neither is stale."""
DOUBLED = f"{BOTH_SENT} several rows with this key"
WITHHELD = "withheld until its date is settled"
"""It would lower an unsettled date."""
NO_PARTITION = "no partition"
OUTSIDE = "outside of the partitions"
