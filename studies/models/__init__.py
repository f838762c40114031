"""The pretrained backbones that adapters are trained on."""
