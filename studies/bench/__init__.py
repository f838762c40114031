"""What LR-LoRA costs beside PEFT's methods: whole cells of a study, training steps, single layers."""
