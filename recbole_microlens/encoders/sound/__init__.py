"""Encoders of sound: from the samples of windows to what a network takes, in torch, on the device."""
