"""The tasks of Fashion-MNIST at 14x14: class-conditional, real images, minutes on a laptop CPU.

They share images and protocol, and differ in the network: `fashion` has a UNet under EDM's preconditioning, and
`fashion-flow` a transformer of DiT's class, a rectified flow with classifier-free guidance, as `imagenet256`.
"""

from dataclasses import replace

from bench.task.declaration import Baseline, SolverBaseline
from bench.task.protocol import Protocol
from tasks.fashion.data import FASHION
from tasks.micro.task import (
    ClassifierRecipe,
    FlowTeacherRecipe,
    MicroTask,
    NetworkSpec,
    TeacherRecipe,
    TransformerSpec,
)

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

FLOW_ODE = SolverBaseline("teacher-ode", "the teacher, Heun's method, 18 steps", 18, solver="flow-heun")
EULER = SolverBaseline("teacher-euler", "the teacher, Euler's method, 35 steps", 35, solver="flow-euler")
GUIDED = replace(
    FLOW_ODE, name="teacher-cfg", summary="the teacher, Heun, 18 steps, guidance 1.5", guidance_scale=1.5
)
INTERVAL = replace(
    GUIDED,
    name="teacher-interval",
    summary="the teacher, Heun, 18 steps, guidance 1.5 at times below 0.7",
    guidance_levels=(0.0, 0.7),
)

TASK_FLOW = replace(
    TASK,
    name="fashion-flow",
    summary="fashion with a small transformer of DiT's class, a rectified flow as SiT, in place of the UNet",
    baselines={one.name: one for one in (FLOW_ODE, EULER, GUIDED, INTERVAL)},
    network=TransformerSpec(width=64, layers=4, heads=4, patch_size=2),
    teacher=FlowTeacherRecipe(iterations=2000, batch_size=64, lr=2e-3, warmup=100, ema_decay=0.998),
)
