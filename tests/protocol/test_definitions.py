"""The declarations against Kafka's own definitions: names, order, types, versions, tags, nullability, defaults."""

import json
import re

from pykbroker.protocol import fields
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.message import Struct
from pykbroker.protocol.versions import Versions

PRIMITIVES = {
    "bool": fields.Bool,
    "int8": fields.Int8,
    "int16": fields.Int16,
    "uint16": fields.UInt16,
    "int32": fields.Int32,
    "uint32": fields.UInt32,
    "int64": fields.Int64,
    "float64": fields.Float64,
    "string": fields.String,
    "uuid": fields.Uuid,
    "bytes": fields.Bytes,
    "records": fields.Records,
}
RENAMED = {"Subscription": "ConsumerProtocolSubscription", "Assignment": "ConsumerProtocolAssignment"}


def snake(name):
    name = name.replace("2Pc", "_2pc")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def declared(cls):
    """A class as nested tuples: everything that decides about bytes."""
    return [(name, *described(field)) for name, field in cls.fields.items()]


def described(field):
    element = getattr(field, "element", None)
    inner = declared(element) if isinstance(element, type) and issubclass(element, Struct) else element
    default = "struct" if isinstance(field, fields.Nested) and field.default is not None else field.default
    flexible = None if field.flexible is None else str(field.flexible)
    return type(field), inner, field.versions, field.nullable, field.tag, field.ignorable, default, flexible


def defined(definition):
    """The same of a definition."""
    common = {each["name"]: each["fields"] for each in definition.get("commonStructs", [])}
    return [defined_field(field, common) for field in definition["fields"]]


def defined_field(field, common):
    base = field["type"].removeprefix("[]")
    if base in PRIMITIVES:
        inner, kind = PRIMITIVES[base], PRIMITIVES[base]
    else:
        inner, kind = [defined_field(each, common) for each in field.get("fields") or common[base]], fields.Nested
    if field["type"].startswith("[]"):
        kind, default = fields.Array, ()
    else:
        inner = inner if kind is fields.Nested else None
        default = "struct" if kind is fields.Nested else kind.empty
    if "default" in field:
        default = field["default"]
        if isinstance(default, str) and base not in ("string",):
            default = int(default, 0)
    versions, nullable = Versions(field["versions"]), Versions(field.get("nullableVersions"))
    return (
        snake(field["name"]),
        kind,
        inner,
        versions,
        nullable,
        field.get("tag"),
        field.get("ignorable", False),
        default,
        field.get("flexibleVersions"),
    )


def test_declared_as_defined(message, reference):
    name = RENAMED.get(message.__name__, message.__name__)
    (path,) = [path for path in (reference / "messages").rglob("*.json") if path.stem == name]
    definition = json.loads(path.read_text())
    assert message.key == definition.get("apiKey", -1)
    assert message.versions == Versions(definition["validVersions"])
    assert message.flexible == Versions(definition["flexibleVersions"])
    assert declared(message) == defined(definition)


def test_nothing_is_left_undeclared(reference, made):
    """Requests, responses, headers, what consumers tell each other, keys and values, control records, principals."""
    renamed = {new: old for old, new in RENAMED.items()}
    defined_names = {path.stem for path in (reference / "messages").rglob("*.json")}
    assert {renamed.get(name, name) for name in defined_names} == set(made.named)


def test_api_keys(reference):
    apis = json.loads((reference / "api_versions.json").read_text())
    names = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", api["name"]).upper(): api["key"] for api in apis}
    assert {key.name: key.value for key in ApiKey} == names


def test_error_codes(reference):
    errors = json.loads((reference / "errors.json").read_text())
    assert {each["name"]: (each["code"], each["retriable"]) for each in errors} == {
        code.name: (code.value, code.retriable) for code in ErrorCode
    }


def test_every_definition_is_declared(reference):
    from pykbroker.protocol.messages import message_classes

    apis = json.loads((reference / "api_versions.json").read_text())
    for api in apis:
        low, high = api["schema_versions"]
        for cls in message_classes(api["key"]):
            assert (cls.versions.low, cls.versions.high) == (low, high), api["name"]
            first = api["first_flexible"]
            assert cls.flexible.low == first if first is not None else not list(cls.flexible), api["name"]
