"""Reads a payload as docs/format.md describes it, with Python's standard library alone.

Usage: python3 read_payload.py HEX. Prints one line for each entry, in a notation that shows every bit:
null, true, i-3, f3ff0000000000000, t"text" (escaped as JSON), b01ff, [a,b], {k:v,k:v}. The session's own entry is
printed field by field.
"""

import base64
import json
import struct
import sys


class Bytes(bytes):
    pass


class Bincode:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, size):
        self.at += size
        assert self.at <= len(self.data), "too short"
        return self.data[self.at - size : self.at]

    def uint(self):
        first = self.take(1)[0]
        if first < 251:
            return first
        return int.from_bytes(self.take({251: 2, 252: 4, 253: 8}[first]), "little")

    def bytes(self):
        return self.take(self.uint())

    def value(self):
        kind = self.uint()
        if kind == 0:
            return None
        if kind == 1:
            return self.take(1)[0] == 1
        if kind == 2:
            number = self.uint()
            return -(number + 1) // 2 if number % 2 else number // 2
        if kind == 3:
            return self.uint()
        if kind == 4:
            return struct.unpack("<d", self.take(8))[0]
        if kind == 5:
            return self.bytes().decode()
        if kind == 6:
            return Bytes(self.bytes())
        if kind == 7:
            return [self.value() for _ in range(self.uint())]
        assert kind == 8, "unknown kind"
        return tuple((self.value(), self.value()) for _ in range(self.uint()))

    def entries(self):
        entries = []
        for _ in range(self.uint()):
            key = self.bytes().decode()
            entries.append((key, Bincode(self.bytes()).value()))
        assert self.at == len(self.data)
        return entries


class MessagePack:
    SIZED = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4, 0xDE: 2, 0xDF: 4}
    NUMBERS = {0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q",
               0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q"}

    def __init__(self, data):
        self.data, self.at = data, 0

    take = Bincode.take

    def value(self):
        marker = self.take(1)[0]
        if marker < 0x80:
            return marker
        if marker >= 0xE0:
            return marker - 256
        if marker in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[marker]
        if marker in self.NUMBERS:
            form = self.NUMBERS[marker]
            return struct.unpack(form, self.take(struct.calcsize(form)))[0]
        if marker < 0x90:
            return self.pairs(marker & 15)
        if marker < 0xA0:
            return [self.value() for _ in range(marker & 15)]
        if marker < 0xC0:
            return self.take(marker & 31).decode()
        size = int.from_bytes(self.take(self.SIZED[marker]), "big")
        if marker <= 0xC6:
            return Bytes(self.take(size))
        if marker <= 0xDB:
            return self.take(size).decode()
        if marker <= 0xDD:
            return [self.value() for _ in range(size)]
        return self.pairs(size)

    def pairs(self, size):
        return tuple((self.value(), self.value()) for _ in range(size))

    def entries(self):
        entries = list(self.value())
        assert self.at == len(self.data)
        return entries


def untag(value):
    if isinstance(value, list):
        return [untag(item) for item in value]
    if not isinstance(value, tuple):
        return value
    names = [name for name, _ in value]
    if names == ["$bytes"]:
        return Bytes(base64.b64decode(value[0][1], validate=True))
    if names == ["$f64"]:
        return struct.unpack(">d", bytes.fromhex(value[0][1]))[0]
    if names == ["$map"]:
        return tuple((untag(key), untag(item)) for key, item in value[0][1])
    return tuple((name, untag(item)) for name, item in value)


def json_entries(data):
    pairs = json.loads(data.decode(), object_pairs_hook=tuple)
    return [(name, untag(value)) for name, value in pairs]


def identity(data):
    fields = Bincode(data)
    number = lambda: int.from_bytes(fields.take(8), "big", signed=True)
    assert fields.take(1) == b"\x01", "another version"
    flags = fields.take(1)[0]
    assert flags < 32 and flags & 6 != 6, "unknown flags"
    read = {"changed_at": number(), "idle": number()}
    if flags & 1:
        read["verifier"] = fields.take(32).hex()
    if flags & 2:
        read["before"], read["nonce"] = fields.take(32).hex(), fields.take(16).hex()
    if flags & 4:
        read["before"], read["shown_at"] = fields.take(32).hex(), number()
    if flags & 8:
        read["owned_since"] = number()
    if flags & 16:
        read["lifetime"] = f"{number()},{number()}"
    assert fields.at == len(data)
    return " ".join(f"{name}={value}" for name, value in read.items())


def show(value):
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return f"i{value}"
    if isinstance(value, float):
        return "f" + struct.pack(">d", value).hex()
    if isinstance(value, str):
        return "t" + json.dumps(value, ensure_ascii=False)
    if isinstance(value, bytes):
        return "b" + value.hex()
    if isinstance(value, list):
        return "[" + ",".join(map(show, value)) + "]"
    return "{" + ",".join(f"{show(key)}:{show(item)}" for key, item in value) + "}"


def main():
    payload = bytes.fromhex(sys.argv[1])
    readers = {
        0x11: lambda data: Bincode(data).entries(),
        0x21: json_entries,
        0x31: lambda data: MessagePack(data).entries(),
    }
    entries = readers[payload[0]](payload[1:])
    keys = [key.encode() for key, _ in entries]
    assert keys == sorted(set(keys)), "keys out of order"
    sys.stdout.reconfigure(encoding="utf-8")
    for key, value in entries:
        print(f"{show(key)}: {identity(value)}" if key == "_session.id" else f"{show(key)}={show(value)}")


main()
