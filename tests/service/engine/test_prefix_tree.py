"""Prefix trees: every path spells its message, and nothing is run twice that is worth sharing."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.messages import Score
from service.engine import prefix_tree
from service.engine.prefix_tree import score_nodes
from service.engine.work import Group, Job, Node

SAVED = 4

Tokens = tuple[int, ...]


@pytest.fixture(autouse=True, scope="module")
def _share_little() -> Iterator[None]:
    """Short texts suffice here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prefix_tree, "MIN_SAVED_TOKENS", SAVED)
        yield


def job(targets: Tokens, context: Tokens = ()) -> Job:
    return Job(Score("", context, targets, None), Group(), 0.0)


def walk(roots: list[Node]) -> list[Node]:
    nodes = list(roots)
    for node in nodes:  # grows while it is walked
        nodes += node.children
    return nodes


def spell(node: Node) -> Tokens:
    above = () if node.parent is None else spell(node.parent)
    return above + node.tokens


def test_a_single_message_is_one_sequence() -> None:
    (root,) = score_nodes([job((4, 5, 6), context=(1, 2))])
    assert (root.tokens, root.inputs, root.unscored) == ((1, 2, 4, 5, 6), 4, 2)
    assert root.jobs == root.ends
    assert not root.children


def test_no_messages() -> None:
    assert score_nodes([]) == []


def test_a_message_without_targets() -> None:
    (root,) = score_nodes([job(())])
    assert (root.tokens, root.inputs, root.unscored) == ((), 0, 0)


def test_shared_words_are_a_node() -> None:
    jobs = [job((1, 2, 3, 4, 5)), job((1, 2, 3, 4, 6, 7))]
    (root,) = score_nodes(jobs)
    assert (root.tokens, root.inputs, root.ends) == ((1, 2, 3, 4), 4, [])
    assert [(child.tokens, child.inputs) for child in root.children] == [((6, 7), 1), ((5,), 0)]
    assert [child.ends for child in root.children] == [[jobs[1]], [jobs[0]]]


def test_too_little_to_share() -> None:
    roots = score_nodes([job((1, 2, 5)), job((1, 2, 6))])
    assert sorted(root.tokens for root in roots) == [(1, 2, 5), (1, 2, 6)]


def test_what_little_many_share_is_worth_it() -> None:
    (root,) = score_nodes([job((1, i)) for i in range(SAVED + 1)])
    assert root.tokens == (1,)


def test_some_of_a_span_share_more() -> None:
    roots = score_nodes([job((1, 9)), job((1, 2, 3, 4, 5)), job((1, 2, 3, 4, 6))])
    assert sorted(root.tokens for root in roots) == [(1, 2, 3, 4), (1, 9)]


def test_a_message_that_is_another_s_prefix() -> None:
    jobs = [job((1, 2, 3, 4)), job((1, 2, 3, 4, 5))]
    (root,) = score_nodes(jobs)
    assert (root.ends, root.inputs) == ([jobs[0]], 4)
    assert root.children[0].ends == [jobs[1]]


def test_the_same_message_twice() -> None:
    jobs = [job((1, 2, 3, 4, 5)), job((1, 2, 3, 4, 5)), job((7,)), job((7,))]
    roots = score_nodes(jobs)
    assert sorted((root.tokens, len(root.ends)) for root in roots) == [((1, 2, 3, 4, 5), 2), ((7,), 2)]
    assert [root.inputs for root in sorted(roots, key=lambda root: root.tokens)] == [4, 0]


def test_the_context_is_shared_and_not_scored() -> None:
    (root,) = score_nodes([job((1, 5), context=(8, 9, 8, 9)), job((1, 6), context=(8, 9, 8, 9))])
    assert root.tokens == (8, 9, 8, 9, 1)
    assert root.unscored == 4
    assert [child.unscored for child in root.children] == [0, 0]


def test_other_contexts_are_other_trees() -> None:
    roots = score_nodes([job((1, 2, 3, 4, 5), context=(7,)), job((1, 2, 3, 4, 5))])
    assert sorted(root.tokens for root in roots) == [(1, 2, 3, 4, 5), (7, 1, 2, 3, 4, 5)]


def test_a_very_deep_tree() -> None:
    words = tuple(range(8 * 1100))
    jobs = [job(words[: 8 * n]) for n in range(1, 1101)]
    nodes = walk(score_nodes(jobs))
    assert len(nodes) == 1100
    assert sum(node.inputs for node in nodes) == len(words) - 1


TOKENS = st.lists(st.integers(0, 2), max_size=12).map(tuple)


@given(st.lists(st.tuples(TOKENS, st.sampled_from([(), (1,), (1, 1, 2)])), max_size=30))
def test_every_path_spells_its_message(messages: list[tuple[Tokens, Tokens]]) -> None:
    jobs = [job(targets, context) for targets, context in messages]
    nodes = walk(score_nodes(jobs))
    ended = [(job, node) for node in nodes for job in node.ends]
    assert len(ended) == len(jobs)
    assert {job for job, _ in ended} == set(jobs)
    for one, node in ended:
        assert isinstance(one.message, Score)
        assert spell(node) == one.message.context + one.message.targets
    for node in nodes:
        below = {job for other in walk([node]) for job in other.ends}
        assert set(node.jobs) == below
        # A leaf's last token is not run; whatever has children is run whole.
        assert node.inputs == (len(node.tokens) if node.children else max(0, len(node.tokens) - 1))
        start = 0 if node.parent is None else len(spell(node.parent))
        (context,) = {len(one.message.context) for one in below if isinstance(one.message, Score)}
        assert node.unscored == min(len(node.tokens), max(0, context - start))
        if node.parent is not None:
            assert below < set(node.parent.jobs)
    plain = sum(len(targets) + len(context) for targets, context in messages)
    assert sum(len(node.tokens) for node in nodes) <= plain
