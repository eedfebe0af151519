"""EfficientNet-Lite0 as written here beside timm's ``tf_efficientnet_lite0``: a step of each, in turn.

Prints JSON: seconds of a forward and backward pass over a batch (the least of some), their ratio, and
the largest difference of the features with the same weights.
"""

import argparse
import json
import time

import torch

from recbole_microlens.encoders.encoder import EncoderOptions
from recbole_microlens.encoders.registry import create_encoder


def same_weights(ours, theirs):
    """Copy the weights of one to the other; both list them in the order of the forward pass."""
    of_kind = {}
    for key, tensor in ours.network.state_dict().items():
        of_kind.setdefault((key.rpartition(".")[2], tensor.dim()), []).append(tensor)
    state = theirs.network.state_dict()
    theirs.network.load_state_dict(
        {key: of_kind[key.rpartition(".")[2], tensor.dim()].pop(0) for key, tensor in state.items()}
    )


def seconds(encoder, pixels):
    start = time.perf_counter()
    encoder.forward_top(encoder.forward_trunk(pixels, encoder.n_stages), encoder.n_stages).sum().backward()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--short", action="store_true", help="small pictures, one round")
    arguments = parser.parse_args()
    if arguments.short:
        arguments.pictures, arguments.size, arguments.rounds = 2, 64, 1
    torch.manual_seed(0)
    options = EncoderOptions(1, arguments.size, weights="pretrained")
    encoders = {
        "ours": create_encoder("efficientnet_lite0", options),
        "timm": create_encoder("timm:tf_efficientnet_lite0", EncoderOptions(1, arguments.size)),
    }
    same_weights(*encoders.values())
    pixels = torch.randint(0, 256, (arguments.pictures, arguments.size, arguments.size, 3), dtype=torch.uint8)
    with torch.no_grad():
        images = encoders["ours"].eval().prepare(pixels)
        features = [e.eval()._run(images, 0, e.n_stages) for e in encoders.values()]
    times = {name: [] for name in encoders}
    for _ in range(arguments.rounds + 1):
        for name, encoder in encoders.items():
            times[name].append(seconds(encoder.train(), pixels))
    least = {name: min(found[1:]) for name, found in times.items()}
    result = {f"{name}_seconds": round(value, 3) for name, value in least.items()}
    result["timm_over_ours"] = round(least["timm"] / least["ours"], 2)
    result["largest_difference"] = (features[0] - features[1]).abs().max().item()
    result["largest_feature"] = features[0].abs().max().item()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
