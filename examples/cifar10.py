"""CIFAR-10 as a class-conditional micro task, from a folder of PNGs: train/CLASS/NAME.png and test/CLASS/NAME.png.

bench prepare --plugin examples/cifar10.py --task cifar10 --data FOLDER
bench run --plugin examples/cifar10.py --task cifar10 --method dmd2
"""

from bench.data.folder import ImageFolder
from bench.task.declaration import Baseline
from bench.task.protocol import Protocol
from tasks.micro import ClassifierRecipe, MicroTask, NetworkSpec, TeacherRecipe

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
LICENCE = "none given (Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009)"

CIFAR10 = ImageFolder(
    name="cifar10",
    summary="CIFAR-10 at 32x32, from a folder of PNGs",
    licence=LICENCE,
    fix="bench prepare --plugin examples/cifar10.py --task cifar10 --data FOLDER",
    size=32,
)

TASK = MicroTask(
    name="cifar10",
    summary="CIFAR-10 at 32x32, class-conditional",
    scale="micro",
    image_shape=(3, 32, 32),
    protocol=Protocol(
        name="cifar10",
        samples=10_000,
        repetitions=3,
        first_seed=0,
        labels="balanced",
        uint8="round",
        reference="10,000 test images of CIFAR-10",
        features="cifar10-cnn64",
        metrics=("fd", "kid", "precision", "recall", "accuracy"),
    ),
    baselines={"teacher-ode": Baseline("teacher-ode", "the teacher, Heun ODE sampler, 18 steps", 18)},
    licences={"cifar10": LICENCE},
    data=CIFAR10,
    class_names=CLASSES,
    network=NetworkSpec(channels=(64, 128), patch_size=2, sigma_data=0.5, attention_head_dim=32),
    teacher=TeacherRecipe(iterations=20_000, batch_size=64, ema_decay=0.999),
    classifier=ClassifierRecipe(epochs=10, width=32, features=64),
)
