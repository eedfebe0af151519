"""MMGCN_ID+V; as published, its ids and preferences have gradients that are never applied."""

from golden_cases._graph import Place, as_it_is, of_nodes, of_users, outcome_of_graph
from recbole_microlens.models.mmgcn import MMGCNIDV


def outcome(case):
    return outcome_of_graph(MMGCNIDV, case, _places)


def _places(n_users: int) -> dict[str, Place]:
    places = {
        "id_embedding": of_nodes("id_embedding", n_users),
        "v_gcn.preference": of_users("preference.video"),
        "v_gcn.MLP.weight": as_it_is("item_vector.video.linear.weight"),
        "v_gcn.MLP.bias": as_it_is("item_vector.video.linear.bias"),
    }
    for number in range(3):
        ours, theirs = f"layers.video.{number}", f"layer{number + 1}"
        places[f"v_gcn.conv_embed_{number + 1}.weight"] = _transposed(f"{ours}.neighbours.weight")
        for part in ("weight", "bias"):
            places[f"v_gcn.linear_{theirs}.{part}"] = as_it_is(f"{ours}.own.{part}")
            places[f"v_gcn.g_{theirs}.{part}"] = as_it_is(f"{ours}.combined.{part}")
    return places


def _transposed(ours: str) -> Place:
    return ours, lambda array: array.T, lambda gradient: gradient.T
