"""The names by which a user chooses the device; light, as some read them before torch is loaded."""

CHOICE = "PRUNEBENCH_DEVICE"
"""The variable that names the device: auto, cpu, or a name of torch such as cuda, cuda:1 or xpu."""
AUTO = "auto"
"""The name for the accelerator that torch finds, or the CPU if there is none."""
USABLE = 0.9
"""The fraction of a device's free memory for the weights of a whole model; the rest is for activations."""
