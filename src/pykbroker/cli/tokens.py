"""`pykbroker tokens`: delegation tokens, which log in for the user who made them; kafka-delegation-tokens.sh."""

from __future__ import annotations

import argparse
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import UsageError, add_verb, add_verbs, command
from pykbroker.cli.output import Report, table
from pykbroker.cli.times import duration, text_of

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

BROKERS_DEFAULT = -1
"""A period or lifetime as the broker's configs have it."""
AT_ONCE = -1
COLUMNS = ("token_id", "owner", "requester", "issued", "expires", "max_lifetime", "renewers")


def parser() -> Parser:
    """The command's options."""
    made = command("tokens", "Delegation tokens: they log in, by SCRAM, for the user who made them.")
    verbs = add_verbs(made)
    verb = add_verb(verbs, "list", list_verb, "List the tokens that you may see.")
    verb.add_argument("--owner", metavar="TYPE:NAME", action="append", type=_principal, help="only theirs")
    verb = add_verb(verbs, "create", create, "Make a token; its id and HMAC are user and password.")
    verb.add_argument("--owner", metavar="TYPE:NAME", type=_principal, help="for somebody else (default: yourself)")
    verb.add_argument(
        "--renewer", metavar="TYPE:NAME", action="append", type=_principal, default=[], help="may renew it"
    )
    verb.add_argument("--max-lifetime", metavar="TIME", type=duration, help="like 7d (default: the brokers')")
    verb = add_verb(verbs, "renew", renew, "Put off the end of a token.")
    verb.add_argument("hmac", metavar="HMAC", help="the token's HMAC")
    verb.add_argument("--period", metavar="TIME", type=duration, help="for how long (default: the brokers')")
    verb = add_verb(verbs, "expire", expire, "End a token, at once or after a time.")
    verb.add_argument("hmac", metavar="HMAC", help="the token's HMAC")
    verb.add_argument("--after", metavar="TIME", type=duration, help="like 10m (default: at once)")
    return made


def _principal(text: str) -> tuple[str, str]:
    kind, colon, name = text.partition(":")
    if not colon or not kind or not name:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a principal like User:{text}")
    return kind, name


def _hmac(text: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise UsageError("HMAC: expected base64, as `tokens create` prints it") from None


async def list_verb(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Without their HMACs: those are secrets, though Kafka tells them."""
    from pykbroker.client.cluster import raise_for
    from pykbroker.protocol.messages.describe_delegation_token import DescribeDelegationTokenRequest

    of = DescribeDelegationTokenRequest.Owner
    owners = None
    if options.owner:
        owners = [of(principal_type=kind, principal_name=name) for kind, name in options.owner]
    answer = await cluster.any(DescribeDelegationTokenRequest(owners=owners))
    raise_for(answer.error_code)
    rows = [
        {
            "token_id": one.token_id,
            "owner": f"{one.principal_type}:{one.principal_name}",
            "requester": f"{one.token_requester_principal_type}:{one.token_requester_principal_name}"
            if one.token_requester_principal_name
            else None,
            "issued": text_of(one.issue_timestamp),
            "expires": text_of(one.expiry_timestamp),
            "max_lifetime": text_of(one.max_timestamp),
            "renewers": [f"{renewer.principal_type}:{renewer.principal_name}" for renewer in one.renewers],
        }
        for one in sorted(answer.tokens, key=lambda one: str(one.token_id))
    ]
    return table(COLUMNS, rows, "no tokens")


async def create(cluster: Cluster, options: argparse.Namespace) -> Report:
    """CreateDelegationToken (KIP-48)."""
    from pykbroker.client.cluster import raise_for
    from pykbroker.client.connection import Versioned
    from pykbroker.protocol.api_keys import ApiKey
    from pykbroker.protocol.message import Message
    from pykbroker.protocol.messages.create_delegation_token import CreateDelegationTokenRequest

    def build(version: int) -> Message:
        of = CreateDelegationTokenRequest.Renewer
        request = CreateDelegationTokenRequest(
            max_lifetime_ms=BROKERS_DEFAULT if options.max_lifetime is None else options.max_lifetime,
            renewers=[of(principal_type=kind, principal_name=name) for kind, name in options.renewer],
        )
        if version >= 3:
            request.owner_principal_type, request.owner_principal_name = options.owner or ("", "")
        return request

    answer = await cluster.controller(Versioned(ApiKey.CREATE_DELEGATION_TOKEN, build))
    raise_for(answer.error_code)
    hmac = b64encode(answer.hmac).decode()
    document: dict[str, Any] = {
        "token_id": answer.token_id,
        "hmac": hmac,
        "owner": f"{answer.principal_type}:{answer.principal_name}",
        "expires": text_of(answer.expiry_timestamp_ms),
        "max_lifetime": text_of(answer.max_timestamp_ms),
    }
    lines = [f"{key.replace('_', ' ')}: {value}" for key, value in document.items()]
    return Report(document, lines)


async def renew(cluster: Cluster, options: argparse.Namespace) -> Report:
    """RenewDelegationToken, by a renewer or the owner."""
    from pykbroker.protocol.messages.renew_delegation_token import RenewDelegationTokenRequest

    period = BROKERS_DEFAULT if options.period is None else options.period
    request = RenewDelegationTokenRequest(hmac=_hmac(options.hmac), renew_period_ms=period)
    return await _ending(cluster, request)


async def expire(cluster: Cluster, options: argparse.Namespace) -> Report:
    """ExpireDelegationToken, by a renewer or the owner."""
    from pykbroker.protocol.messages.expire_delegation_token import ExpireDelegationTokenRequest

    period = AT_ONCE if options.after is None else options.after
    request = ExpireDelegationTokenRequest(hmac=_hmac(options.hmac), expiry_time_period_ms=period)
    return await _ending(cluster, request)


async def _ending(cluster: Cluster, request: Any) -> Report:
    from pykbroker.client.cluster import raise_for

    answer = await cluster.controller(request)
    raise_for(answer.error_code)
    expires = text_of(answer.expiry_timestamp_ms)
    return Report({"expires": expires}, [f"the token expires: {expires}"])
