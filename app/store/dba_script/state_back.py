"""Statements that restore trade_recon as before trade-recon."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.store.database.sql_text import comment, identifier, literal, qualified
from app.store.dba_script.installed import Installed, columns_that_go
from app.store.schema.introspect import STATE_TABLE

_FIRES: Mapping[str, str] = {"O": "", "A": "ALWAYS ", "R": "REPLICA "}


def state_back(role: str, found: Installed) -> Iterator[str]:
    """The statements, commented."""
    table, now = qualified(found.schema, STATE_TABLE), found.state
    if now is None:
        return
    if found.earlier is None and not found.place["stood_before"]:
        yield f"DROP TABLE {table};"
        return
    yield comment(f"{STATE_TABLE} as it was.")
    there = {column["name"]: column for column in now["columns"]}
    before = (
        {column["name"]: column for column in found.earlier["columns"]} if found.earlier else {}
    )
    changes = [f"DROP COLUMN {identifier(name)}" for name in columns_that_go(found.earlier, now)]
    changes += [
        change
        for name, column in before.items()
        if name in there
        for change in _column_back(column, there[name])
    ]
    if changes:
        listed = ",\n    ".join(changes)
        yield f"ALTER TABLE {table}\n    {listed};"
    owner = found.place["raw_owner"]
    if now["owner"] == role and owner not in (None, role):
        yield f"ALTER TABLE {table} OWNER TO {identifier(owner)};"
    if found.earlier is None:
        return
    yield from _options(table, found.earlier["options"], now["options"])
    for name, column in before.items():
        if name in there and column["comment"] != there[name]["comment"]:
            said = "NULL" if column["comment"] is None else literal(column["comment"])
            yield f"COMMENT ON COLUMN {table}.{identifier(name)} IS {said};"
    columns = [name for name, column in before.items() if name in there and not column["generated"]]
    yield from _quietly(table, now, _rows(found, columns))


def _rows(found: Installed, columns: Sequence[str]) -> Iterator[str]:
    """Restore rows, writing only those that differ: others refer to them."""
    table, kept = (
        qualified(found.schema, STATE_TABLE),
        qualified(found.schema, "recon_earlier_trade_recon"),
    )
    now = found.state or {}
    listed = ", ".join(identifier(name) for name in columns)
    referred = "".join(
        f"\n  AND NOT EXISTS (SELECT FROM {each['table']} AS r WHERE {each['condition']})"
        for each in found.references
    )
    yield (
        f"DELETE FROM {table} AS t WHERE NOT EXISTS (SELECT FROM {kept} AS k WHERE k.account_id ="
        f" t.account_id){referred};"
    )
    fixed = {column["name"] for column in now["columns"] if column["is_always_identity"]}
    changed = [identifier(name) for name in columns if name != "account_id" and name not in fixed]
    if changed:
        assigned = ", ".join(f"{name} = k.{name}" for name in changed)
        # As texts, since not every type has an equality.
        texts, of_kept = (
            ", ".join(f"{row}.{name}::text" for name in changed) for row in ("t", "k")
        )
        differ = f"ROW({texts}) IS DISTINCT FROM ROW({of_kept})"
        yield (
            f"UPDATE {table} AS t SET {assigned}\nFROM {kept} AS k\nWHERE k.account_id ="
            f" t.account_id AND {differ};"
        )
    missing = f"NOT EXISTS (SELECT FROM {table} AS t WHERE t.account_id = k.account_id)"
    yield (
        f"INSERT INTO {table} ({listed}) OVERRIDING SYSTEM VALUE\nSELECT {listed} FROM {kept} AS k"
        f" WHERE {missing};"
    )


def _quietly(table: str, now: Mapping[str, Any], statements: Iterator[str]) -> Iterator[str]:
    """Run statements without triggers, rules, policies and unvalidated constraints."""
    before, after = list[str](), list[str]()
    if now["is_forced"]:
        before.append(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;")
        after.append(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY;")
    for each in now["firing"]:
        name = f"{each['kind']} {identifier(each['name'])}"
        before.append(f"ALTER TABLE {table} DISABLE {name};")
        after.append(f"ALTER TABLE {table} ENABLE {_FIRES[each['enabled']]}{name};")
    for each in now["unproven"]:
        name = identifier(each["name"])
        before.append(f"ALTER TABLE {table} DROP CONSTRAINT {name};")
        after.append(f"ALTER TABLE {table} ADD CONSTRAINT {name} {each['definition']};")
        if each["comment"] is not None:
            after.append(f"COMMENT ON CONSTRAINT {name} ON {table} IS {literal(each['comment'])};")
    if before:
        yield comment(
            "What the owner of the table let fire on its rows stands still meanwhile, and is as it"
            " was afterwards."
        )
        yield "\n".join(before)
    yield from statements
    if after:
        yield "\n".join(after)


def _column_back(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    name = identifier(before["name"])
    if before["default"] != now["default"] and not before["generated"]:
        default = before["default"]
        change = "DROP DEFAULT" if default is None else f"SET DEFAULT {default}"
        yield f"ALTER COLUMN {name} {change}"
    if before["not_null"] != now["not_null"]:
        yield f"ALTER COLUMN {name} {'SET' if before['not_null'] else 'DROP'} NOT NULL"


def _options(table: str, before: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    had, has = (dict(option.split("=", 1) for option in options) for options in (before, now))
    gone = [identifier(name) for name in has if name not in had]
    changed = [
        f"{identifier(name)} = {literal(value)}"
        for name, value in had.items()
        if has.get(name) != value
    ]
    if gone:
        yield f"ALTER TABLE {table} RESET ({', '.join(gone)});"
    if changed:
        yield f"ALTER TABLE {table} SET ({', '.join(changed)});"
