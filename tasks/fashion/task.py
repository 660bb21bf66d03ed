"""Task `fashion`: Fashion-MNIST at 14x14, class-conditional, real images, minutes on a laptop CPU."""

from bench.task.declaration import Baseline
from bench.task.protocol import Protocol
from tasks.fashion.data import FASHION
from tasks.micro.task import ClassifierRecipe, MicroTask, NetworkSpec, TeacherRecipe

CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)

TASK = MicroTask(
    name="fashion",
    summary="Fashion-MNIST at 14x14 (2x2 means), class-conditional: the paper's Table 3 on a laptop CPU",
    scale="micro",
    image_shape=(1, 14, 14),
    protocol=Protocol(
        name="fashion",
        samples=10_000,
        repetitions=3,
        first_seed=0,
        labels="balanced",
        uint8="round",
        reference="10,000 held-out images of Fashion-MNIST at 14x14",
        features="fashion-cnn64",
        metrics=("fd", "kid", "precision", "recall", "accuracy"),
    ),
    baselines={
        "teacher-ode": Baseline("teacher-ode", "the teacher, Heun ODE sampler, 18 steps", 18),
        "teacher-sde": Baseline("teacher-sde", "the teacher, Heun SDE sampler, 18 steps, churn 10", 18, churn=10),
    },
    licences={"fashion": "MIT (Zalando Research, Fashion-MNIST)"},
    data=FASHION,
    train_sha256="a1c6a4de6869a1915f6c4f1e4f5171d0b39a3fbb38e55c2e4200d5dfdd023dfd",
    held_out_sha256="b5f93f421d6ecc6e2047479bf1f0db9fba7eea0809c6c8874f6a92015c4b9bd7",
    class_names=CLASSES,
    network=NetworkSpec(channels=(32,), patch_size=2, sigma_data=0.66, attention_head_dim=32),
    teacher=TeacherRecipe(iterations=4000, batch_size=64, ema_decay=0.998),
    classifier=ClassifierRecipe(epochs=3, width=16, features=64),
)
