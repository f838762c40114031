"""What a training step of LR-LoRA costs beside one of PEFT's LoRA: time, in turns in one process, and peak memory."""
