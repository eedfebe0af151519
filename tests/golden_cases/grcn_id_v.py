"""GRCN_ID+V as published: its routing does nothing."""

from golden_cases._graph import Place, as_it_is, of_nodes, of_users, outcome_of_graph
from recbole_microlens.models.grcn import GRCNIDV


def outcome(case):
    return outcome_of_graph(GRCNIDV, case, _places)


def _places(n_users: int) -> dict[str, Place]:
    return {
        "id_gcn.id_embedding": of_nodes("id_embedding", n_users),
        "model_specific_conf": of_nodes("confidence", n_users),
        "v_gcn.preference": of_users("preference.video"),
        "v_gcn.MLP.weight": as_it_is("item_vector.video.linear.weight"),
        "v_gcn.MLP.bias": as_it_is("item_vector.video.linear.bias"),
    }
