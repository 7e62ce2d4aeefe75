"""The view of a plan: by job of the spec, with what is done, what could be detected and what it costs."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Literal

from robxfer_core.planning.cost import Cost
from robxfer_core.planning.plan import Node, Plan
from robxfer_core.planning.power import detectable_effects
from robxfer_core.spec.states import JobState
from robxfer_core.spec.wire.plan import CostView, PlanCount, PlanGroup, PlanInput, PlanNode, PlanView


def group_of(node: str) -> str:
    """The job of the spec that a node is a member of: "gap.source[eps=0.5]" -> "gap.source"."""
    return node.partition("[")[0]


def plan_view(name: str, plan: Plan, states: Mapping[str, JobState], cost: Cost) -> PlanView:
    """Makes the view of a plan.

    Args:
        name: Name of the spec.
        plan: The plan.
        states: States of the jobs that exist already, by key.
        cost: What the jobs that are not done will take.
    """
    groups: dict[str, list[Node]] = defaultdict(list)
    kinds: dict[str, list[Node]] = defaultdict(list)
    for node in plan.nodes:
        groups[group_of(node.name)].append(node)
        kinds[node.kind].append(node)
    done = {key for key, state in states.items() if state == JobState.DONE}
    return PlanView(
        name=name,
        groups=[_group(group, nodes, done) for group, nodes in groups.items()],
        counts={kind: _count(nodes, done) for kind, nodes in kinds.items()},
        cost=CostView(
            seconds=cost.seconds,
            wall_seconds=cost.wall_seconds,
            gpu_seconds=cost.gpu_seconds,
            bytes=cost.bytes,
            flops=cost.flops,
            slots=cost.slots,
            basis=cost.basis,
        ),
        detectable_effect=detectable_effects(plan) or None,
        nodes=[_node(node, states) for node in plan.nodes],
        edges=[(ref.node, node.name) for node in plan.nodes for ref in node.inputs],
    )


def _node(node: Node, states: Mapping[str, JobState]) -> PlanNode:
    state: Literal["done", "known", "new"] = "new"
    if node.key in states:
        state = "done" if states[node.key] == JobState.DONE else "known"
    inputs = [PlanInput(field=ref.field, index=ref.index, node=ref.node, key=ref.key) for ref in node.inputs]
    return PlanNode(
        name=node.name,
        group=group_of(node.name),
        kind=node.kind,
        key=node.key,
        state=state,
        inputs=inputs,
        flops=node.flops,
    )


def _group(name: str, nodes: list[Node], done: Collection[str]) -> PlanGroup:
    jobs = {node.key: node for node in nodes}
    return PlanGroup(
        name=name,
        kind=nodes[0].kind,
        nodes=len(nodes),
        jobs=len(jobs),
        done=sum(key in done for key in jobs),
        flops=sum(node.flops for key, node in jobs.items() if key not in done),
        after=sorted({group_of(ref.node) for node in nodes for ref in node.inputs}),
    )


def _count(nodes: list[Node], done: Collection[str]) -> PlanCount:
    keys = {node.key for node in nodes}
    return PlanCount(nodes=len(nodes), jobs=len(keys), done=len(keys & set(done)))
