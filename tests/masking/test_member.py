"""A participant protects itself: it answers what an honest server asks, once, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from msgspec.structs import replace

from disco.core.masking.keys import public_key
from disco.core.masking.member import Footing, Member
from disco.core.masking.quantization import MAX_MEMBERS
from disco.core.masking.words import Keys, Roster, SharesRelayed, Survivors
from disco.core.names import ParticipantID
from disco.core.weights import Weights
from disco.errors import ProtocolViolation
from tests.masking.room import TASK, TERMS, names, seeded

WHO = names(6)
ME = WHO[0]
MODEL = Weights.from_arrays([np.zeros(5)])
UPDATE = Weights.from_arrays([np.linspace(-1, 1, 5)])


class Round:
    """Members of one attempt, and what an honest server would tell them."""

    def __init__(self, group_secrets: dict[ParticipantID, bytes] | None = None) -> None:
        secrets = group_secrets or {}
        self.members = {
            name: Member(name, 0, Footing(TASK, TERMS, 3, secrets.get(name, b"")), seeded(name))
            for name in WHO
        }
        self.roster = Roster(0, 1, {name: member.keys for name, member in self.members.items()})
        self.me = self.members[ME]

    def relayed(self) -> SharesRelayed:
        """What comes for ME when everybody has shared."""
        sent = {name: member.share(self.roster) for name, member in self.members.items()}
        return SharesRelayed(1, {name: each.shares[ME] for name, each in sent.items() if name != ME})


def masked() -> Round:
    round_ = Round()
    round_.me.mask(round_.relayed(), UPDATE, MODEL)
    return round_


def refused(call: Callable[[], object], why: str) -> None:
    with pytest.raises(ProtocolViolation, match=why):
        call()


# ── Only what protects it ────────────────────────────────────────────────────────────────────────────────


def test_it_gives_a_share_of_one_secret_of_each_member() -> None:
    revealed = masked().me.reveal(Survivors(1, tuple(WHO[:4])))
    assert set(revealed.seeds) == set(WHO[:4])
    assert set(revealed.mask_keys) == set(WHO[4:])


def test_it_never_gives_shares_of_both_secrets_of_one_member() -> None:
    round_ = masked()
    round_.me.reveal(Survivors(1, tuple(WHO)))
    refused(lambda: round_.me.reveal(Survivors(1, tuple(WHO[:4]))), "reveal out of turn")


@pytest.mark.parametrize(
    ("survivors", "why"),
    [
        (WHO[:3], "3 members delivered, and it takes 4"),
        (WHO[1:], "others delivered than those who could"),
        ([*WHO, ParticipantID("stranger")], "others delivered than those who could"),
        ([WHO[0]] * 4, "1 members delivered"),
    ],
    ids=["too few", "without this one", "strangers", "one named often"],
)
def test_survivors_that_cannot_be_are_told_nothing(survivors: list[ParticipantID], why: str) -> None:
    refused(lambda: masked().me.reveal(Survivors(1, tuple(survivors))), why)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda members: {**members, ME: replace(members[ME], mask_key=public_key(bytes(32)))}, "other keys"),
        (lambda members: {**members, ME: members[WHO[1]]}, "other keys"),
        (lambda members: {name: members[name] for name in WHO[1:]}, "other keys"),
        (lambda members: {name: members[name] for name in WHO[:2]}, "2 members are to mask; from 3"),
        (lambda members: {**members, WHO[1]: members[WHO[2]]}, "the same key"),
        (
            lambda members: {**members, WHO[1]: replace(members[WHO[1]], share_key=members[ME].mask_key)},
            "the same key",
        ),
        (
            lambda members: (
                members
                | {
                    ParticipantID(str(n)): Keys(b"%32d" % n, b"%31dx" % n, bytes(32))
                    for n in range(MAX_MEMBERS)
                }
            ),
            f"to {MAX_MEMBERS} may",
        ),
    ],
    ids=[
        "my key changed",
        "another's keys",
        "not in it",
        "too few",
        "twins",
        "my key for another",
        "too many",
    ],
)
def test_a_roster_that_does_not_protect_it_is_refused(
    change: Callable[[dict[ParticipantID, Keys]], dict[ParticipantID, Keys]], why: str
) -> None:
    round_ = Round()
    changed = replace(round_.roster, members=change(dict(round_.roster.members)))
    refused(lambda: round_.me.share(changed), why)


def test_another_round_than_its_contribution_s_is_refused() -> None:
    round_ = Round()
    refused(lambda: round_.me.share(replace(round_.roster, round=1)), "masks round 1 where 0 is due")


def test_secrets_of_too_few_members_are_refused() -> None:
    round_ = Round()
    few = dict(list(round_.relayed().shares.items())[:2])
    refused(
        lambda: round_.me.mask(SharesRelayed(1, few), UPDATE, MODEL),
        "3 members shared secrets, and it takes 4",
    )


def test_shares_of_strangers_are_refused() -> None:
    round_ = Round()
    shares = {**round_.relayed().shares, ParticipantID("stranger"): bytes(148)}
    refused(lambda: round_.me.mask(SharesRelayed(1, shares), UPDATE, MODEL), "members shared secrets")


def test_steps_are_taken_in_their_order() -> None:
    round_ = Round()
    refused(lambda: round_.me.reveal(Survivors(1, tuple(WHO))), "reveal out of turn")
    refused(lambda: round_.me.mask(SharesRelayed(1, {}), UPDATE, MODEL), "mask out of turn")
    relayed = round_.relayed()
    refused(lambda: round_.me.share(round_.roster), "share out of turn")
    round_.me.mask(relayed, UPDATE, MODEL)
    refused(lambda: round_.me.mask(relayed, UPDATE, MODEL), "mask out of turn")


def test_another_attempt_is_not_answered() -> None:
    refused(lambda: masked().me.reveal(Survivors(2, tuple(WHO))), "attempt 2 where 1 is under way")


# ── Bad shares ───────────────────────────────────────────────────────────────────────────────────────────


def test_it_goes_on_without_the_shares_of_a_few_that_cannot_be_opened() -> None:
    round_ = Round()
    shares = dict(round_.relayed().shares)
    shares[WHO[1]] = bytes(148)
    round_.me.mask(SharesRelayed(1, shares), UPDATE, MODEL)
    revealed = round_.me.reveal(Survivors(1, tuple(WHO)))
    assert set(revealed.seeds) == set(WHO) - {WHO[1]}


def test_it_masks_nothing_when_the_shares_of_most_cannot_be_opened() -> None:
    round_ = Round()
    shares = dict.fromkeys(round_.relayed().shares, bytes(148))
    refused(lambda: round_.me.mask(SharesRelayed(1, shares), UPDATE, MODEL), "only 1 of 6 members' shares")


# ── A group that knows itself ────────────────────────────────────────────────────────────────────────────


def test_members_of_one_group_open_each_other_s_shares() -> None:
    round_ = Round(dict.fromkeys(WHO, b"we"))
    round_.me.mask(round_.relayed(), UPDATE, MODEL)


def test_a_server_that_plays_the_other_members_gets_nothing_from_a_group() -> None:
    round_ = Round({ME: b"we"})
    refused(lambda: round_.me.mask(round_.relayed(), UPDATE, MODEL), "or another group secret")


def test_a_group_s_secret_is_in_no_text() -> None:
    assert "hush" not in repr(Footing(TASK, TERMS, 3, b"hush"))


def test_changes_beyond_the_range_are_counted() -> None:
    round_ = Round()
    large = Weights.from_arrays([np.array([0, 5, -5, 4, 1e30])])
    round_.me.mask(round_.relayed(), large, MODEL)
    assert round_.me.clipped == 3
