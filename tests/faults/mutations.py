"""Damage to files, by chance: bytes changed, moved, cut, and sizes that lie."""

import io
import json
import struct
import zipfile

#: Numbers at which programs go wrong.
NUMBERS = (0, 1, 7, 255, 256, 65535, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**64 - 1)
#: Pieces of YAML that mean something.
YAML_PIECES = (
    b"&a",
    b"*a",
    b"!!python/object/apply:os.system",
    b": ",
    b"- ",
    b"[",
    b"]",
    b"{",
    b"}",
    b"2001-99-99",
    b"1e999",
    b"0x",
    b".nan",
    b"\n",
    b"\t",
    b"'",
    b'"',
    b"|",
    b"<<: ",
    b"!!binary x",
    b"!!timestamp 1",
    b"? ",
    b"%YAML",
    b"---",
    b"\xff",
    b"9" * 5000,
    b"[" * 200,
    b"!!float x",
    b"!!int x",
    b"!!bool x",
    b"=",
    b"1:99:99",
)


def damaged(content, rng):
    """Return bytes with one to four changes anywhere."""
    content = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if content:
            rng.choice(_CHANGES)(content, rng)
    return bytes(content)


def _flip(content, rng):
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)


def _byte(content, rng):
    content[rng.randrange(len(content))] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))


def _number(content, rng):
    size = rng.choice((2, 4, 8))
    value = rng.choice(NUMBERS) + rng.choice((-1, 0, 0, 1))
    packed = struct.pack(rng.choice("<>") + "Q", value % 2**64)
    packed = packed[:size] if rng.random() < 0.5 else packed[-size:]
    at = rng.randrange(len(content))
    content[at : at + size] = packed


def _copy(content, rng):
    size = rng.choice((1, 2, 8, 32, 128))
    source, target = rng.randrange(len(content)), rng.randrange(len(content))
    piece = content[source : source + size]
    content[target : target + len(piece)] = piece


def _cut(content, rng):
    at = rng.randrange(len(content))
    del content[at : at + rng.choice((1, 2, 8, 64))]


def _insert(content, rng):
    at = rng.randrange(len(content))
    content[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 8))))


def _truncate(content, rng):
    del content[rng.randrange(len(content)) :]


_CHANGES = (_flip, _flip, _byte, _byte, _number, _number, _number, _copy, _cut, _insert, _truncate)


def damaged_zip(content, rng):
    """Damage an archive: its bytes, or a member inside, with checksums that fit again."""
    if rng.random() < 0.4:
        return damaged(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {item.filename: archive.read(item) for item in archive.infolist()}
    name = rng.choice(sorted(members))
    if name.endswith(".json") and rng.random() < 0.8:
        members[name] = damaged_json(members[name], rng)
    else:
        members[name] = damaged(members[name], rng)
    if rng.random() < 0.1:
        members[rng.choice(("../out.npy", "/out.npy", "a/../../out", "more.json"))] = b"x"
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", rng.choice((0, 8, 8, 12, 14))) as archive:
        for key, value in members.items():
            archive.writestr(key, value)
    return target.getvalue()


def damaged_json(content, rng):
    """Change one value, wherever it lies in the tree."""
    try:
        tree = json.loads(content)
    except ValueError:
        return damaged(content, rng)
    places = list(_places(tree))
    holder, key = rng.choice(places)
    holder[key] = rng.choice(
        (
            None,
            True,
            -1,
            0,
            2**20,
            2**31,
            2**63,
            1e308,
            "",
            "Lambda",
            "os.system",
            [],
            {},
            "keras",
            "builtins",
            "__lambda__",
            [1, -1],
            {"class_name": "Lambda"},
            holder[key],
        )
    )
    return json.dumps(tree).encode()


def _places(tree):
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    for key, value in list(items):
        yield tree, key
        if isinstance(value, (dict, list)):
            yield from _places(value)


def damaged_yaml(content, rng):
    """Damage a text: its bytes, or pieces that mean something put anywhere."""
    if rng.random() < 0.4:
        return damaged(content, rng)
    content = bytearray(content)
    for _ in range(rng.choice((1, 2, 3))):
        at = rng.randrange(len(content) + 1)
        content[at:at] = rng.choice(YAML_PIECES)
    return bytes(content)
