"""Backbones: normalised images (B, 3, S, S) in, features (B, D) out; the classes belong to the objective.

Read ``residual`` first (the sum that all share), then ``iresnet`` (the default for faces), ``mobilefacenet`` (small),
``resnet`` (the classic). A new backbone is one file and one line of ``BACKBONES``.
"""
