"""Patches that networks take in rows are those that the library's own processors make."""

from types import SimpleNamespace

import torch

from recbole_microlens.encoders.transformers.vision_calls import picture_as_patches, rows_of_patches


def test_patches_of_qwen_are_its_processor_s():
    from transformers import Qwen2VLVideoProcessor

    clips = torch.randint(0, 256, (2, 5, 3, 56, 84), generator=torch.Generator().manual_seed(0)).float()
    network = SimpleNamespace(
        config=SimpleNamespace(temporal_patch_size=2, patch_size=14, spatial_merge_size=2)
    )
    processor = Qwen2VLVideoProcessor(
        do_resize=False, do_normalize=False, do_rescale=False, do_sample_frames=False, do_convert_rgb=False
    )
    made = processor(list(clips.byte()), return_tensors="pt")
    assert made["video_grid_thw"].tolist() == [[3, 4, 6]] * 2
    torch.testing.assert_close(
        rows_of_patches(network, clips).flatten(0, 1), made["pixel_values_videos"].float()
    )


def test_patches_of_siglip_2_are_its_processor_s():
    from transformers import Siglip2ImageProcessor

    pictures = torch.randint(0, 256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0)).float()
    processor = Siglip2ImageProcessor(
        do_resize=False, do_normalize=False, do_rescale=False, patch_size=16, max_num_patches=4
    )
    made = processor(list(pictures.byte()), return_tensors="pt")
    network = SimpleNamespace(config=SimpleNamespace(patch_size=16))
    assert made["pixel_attention_mask"].all() and made["spatial_shapes"].tolist() == [[2, 2]] * 2
    torch.testing.assert_close(picture_as_patches(network, pictures), made["pixel_values"].float())
