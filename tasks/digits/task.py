"""Task `digits`: scikit-learn's 8x8 handwritten digits, which are always available; the default task."""

from bench.task.declaration import Baseline
from bench.task.protocol import Protocol
from tasks.digits.data import DIGITS
from tasks.micro.task import ClassifierRecipe, MicroTask, NetworkSpec, TeacherRecipe

TASK = MicroTask(
    name="digits",
    summary="scikit-learn's 8x8 digits, class-conditional: first contact and continuous integration",
    scale="micro",
    image_shape=(1, 8, 8),
    protocol=Protocol(
        name="digits",
        samples=1800,
        repetitions=3,
        first_seed=0,
        labels="balanced",
        uint8="round",
        reference="897 held-out digits (scikit-learn, stratified split, seed 0)",
        features="digits-cnn32",
        metrics=("fd", "kid", "precision", "recall", "accuracy"),
    ),
    baselines={
        "teacher-ode": Baseline("teacher-ode", "the teacher, Heun ODE sampler, 18 steps", 18),
        "teacher-sde": Baseline("teacher-sde", "the teacher, Heun SDE sampler, 18 steps, churn 10", 18, churn=10),
    },
    licences={"digits": "CC BY 4.0 (UCI Optical Recognition of Handwritten Digits, in scikit-learn)"},
    data=DIGITS,
    train_sha256="76bd74e44206b49fe2473b5b08861af9bb3e5596d02a23a365b5885248af9047",
    held_out_sha256="676731840a1cfbdb2de2f51749383524fad6e2ed40f08ed84871927142f0d063",
    class_names=tuple("0123456789"),
    network=NetworkSpec(channels=(32,), patch_size=2, sigma_data=0.75, attention_head_dim=32),
    teacher=TeacherRecipe(iterations=1500, batch_size=64, ema_decay=0.998),
    classifier=ClassifierRecipe(epochs=40, width=16, features=32, batch_size=50),
)
