"""Our DMD2 against NVIDIA's own (nvidia-modelopt's modelopt/torch/fastgen, after FastGen), on the same tensors.

Both train a few convolutions, and a tiny Stable Diffusion 3 on a grid that is shifted by 3. What agrees to 1e-6,
with the same times and noise given to both:

    distribution matching: loss and gradient     but for the 1e-6 that `vsd_loss` adds to the divisor
    GAN losses of generator and discriminator    softplus, mean over heads
    denoising loss of the critic                 with fake_score_pred_type="flow", the networks' own prediction
    R1, given the logits                         mean squared difference
    a whole generator step                       gradients of the student, with guidance and GAN
    a whole critic step                          gradients of critic and heads, if gan_critic_weight is 1
    noised real inputs, backward simulation      with the rungs 1, .75, .5, .25 (shifted) and "sde"

What differs by design (in the middle ours and the official DMD2's, on the right theirs):

    discriminator's features   the critic's bottleneck, trained      the frozen teacher's middle block
    noise of the GAN term      of its own                            distribution matching's (generator)
    times of all losses        uniform on a grid of 1,000            continuous: shifted, logit-normal, uniform
    weight of denoising        the network's own loss                1 for x0 (default): noisy times weigh more
    0 / 0 in the divisor       counts as 0                           0 / 1e-6
    R1's second input          the discriminator's input plus noise  the clean image plus noise, same time
    first rung                 pure noise, at the last time          .999 noise + .001 image, at .999
    multi-step students        backward simulation                   noised real images (default)
    update rule                critic in every iteration             student or critic, each on its own images
    optimisers                 one for critic and heads              one each, where the GAN's weight is 1

With discriminator_features=teacher and input_simulation=noised-real ours has the forms on the right.
"""

from __future__ import annotations

import pytest
import torch
from nvidia_fastgen import WORLDS, SideBySide, assert_same_gradients, fastgen, numbers
from torch import Tensor

from methods.losses import (
    denoising_loss,
    discriminator_gan_loss,
    distribution_matching_loss,
    generator_gan_loss,
    r1_loss,
)

SHAPE = (4, 2, 4, 4)
LARGE = 30
"""Size of images at which their 1e-6 in the divisor does not show."""
POSITIONS = torch.tensor([40, 310, 555, 930])
MORE_POSITIONS = torch.tensor([500, 20, 970, 333])
each_world = pytest.mark.parametrize("world", WORLDS)


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-9)


class TestLosses:
    def test_distribution_matching_and_its_gradient(self) -> None:
        x, real, fake = (LARGE * numbers(seed, *SHAPE) for seed in range(3))
        weight = torch.tensor([0.5, 1.0, 2.0, 0.1], dtype=torch.float64)
        for given in (None, weight):  # theirs is f-distill's too
            losses, gradients = [], []
            for function in (distribution_matching_loss, fastgen("losses").vsd_loss):
                image = x.clone().requires_grad_()
                loss = function(image, real, fake, given)
                losses.append(loss)
                gradients.append(torch.autograd.grad(loss, image)[0])
            assert_close(losses[0].float(), losses[1].float())
            assert_close(*gradients)

    def test_gan_and_r1(self) -> None:
        real, fake, theirs = numbers(0, 5, 3), numbers(1, 5, 3), fastgen("losses")
        assert_close(generator_gan_loss(fake), theirs.gan_gen_loss(fake))
        assert_close(discriminator_gan_loss(real, fake), theirs.gan_disc_loss(real, fake))
        assert_close(r1_loss(real, fake), theirs.r1_loss(real, fake))

    def test_denoising(self) -> None:
        """Theirs in velocities is ours with the flow schedule's weight, and theirs in images has the weight 1."""
        side, x0, eps = SideBySide("convolutions"), numbers(0, *SHAPE), numbers(1, *SHAPE)
        t = side.ours.schedule.grid[POSITIONS]
        predicted = numbers(2, *SHAPE)  # velocities
        x_t = side.ours.schedule.add_noise(x0, eps, t)
        image = x_t - t[:, None, None, None] * predicted
        dsm = fastgen("losses").dsm_loss
        ours = denoising_loss(image, x0, side.ours.schedule.denoising_weight(t))
        assert_close(ours, dsm("flow", predicted, x0=x0, eps=eps, t=t))
        assert_close(denoising_loss(image, x0, torch.ones(4)), dsm("x0", image, x0=x0))


@pytest.mark.usefixtures("kept_gradients")
class TestSteps:
    @each_world
    @pytest.mark.parametrize("guidance", [1.0, 4.0])
    @pytest.mark.parametrize("gan", [False, True])
    def test_generator(self, world: str, gan: bool, guidance: float) -> None:
        side = SideBySide(world, gan=gan, guidance_scale=guidance, gan_generator_weight=0.03)
        side.noise = LARGE * side.noise
        eps = numbers(5, *side.shape)
        with side.drawing([eps], [POSITIONS]):
            losses = side.theirs.compute_student_loss(
                side.latents, side.noise, side.condition, negative_encoder_hidden_states=side.null.expand(4, -1)
            )
        losses["total"].backward()

        batch = side.batch([side.noise, eps, eps], [POSITIONS, POSITIONS])  # the GAN's draws equal the other's
        start = side.ours.simulate(batch)
        figures = side.ours.update_generator(side.ours.generator(*start), start, batch)
        assert_close(figures["loss/dm"], losses["vsd"].detach())
        if gan:
            assert_close(figures["loss/gan"], 0.03 * losses["gan_gen"].detach())
        assert_same_gradients(side.ours.generator.network.network, side.theirs.student)

    @each_world
    @pytest.mark.parametrize("same_noise", [False, True])
    def test_critic(self, world: str, same_noise: bool) -> None:
        side = SideBySide(world, gan_same_noise=same_noise)
        eps, eps_real, eps_fake = (numbers(seed, *side.shape) for seed in (5, 6, 7))
        with side.drawing([eps], [POSITIONS]):
            denoising = side.theirs.compute_fake_score_loss(side.latents, side.noise, side.condition)["total"]
        # They draw for generated images first. With the same noise for both, real images have that too.
        of_fake = (eps_real, MORE_POSITIONS) if same_noise else (eps_fake, POSITIONS)
        with side.drawing([of_fake[0], eps_real], [of_fake[1], MORE_POSITIONS]):
            discriminator = side.theirs.compute_discriminator_loss(side.latents, side.noise, side.condition)[
                "total"
            ]
        (denoising + discriminator).backward()

        batch = side.batch(
            [side.noise, eps, eps_real, eps_fake],
            [POSITIONS, MORE_POSITIONS, *([] if same_noise else [POSITIONS])],
        )
        start = side.ours.simulate(batch)
        fake = side.ours.generator(*start).detach()
        figures = side.ours.update_critic(fake, start.condition, batch)
        assert_close(figures["loss/denoising"], denoising.detach())
        assert_close(figures["loss/discriminator"], discriminator.detach())
        critic = side.ours.critic.network
        assert_same_gradients(critic.denoiser.network, side.theirs.fake_score)
        assert_same_gradients(critic.heads[0], side.discriminator.cls_pred_heads[0])

    @each_world
    def test_their_r1_does_not_vanish_without_noise_as_ours_does(self, world: str) -> None:
        """It compares noised real images with clean ones, both at the time of the noised ones."""
        side = SideBySide(world, r1_weight=1.0, r1_noise=1e-6)
        noise = [numbers(seed, *side.shape) for seed in range(5, 9)]
        with side.drawing(noise, [POSITIONS, POSITIONS]):
            theirs = side.theirs.compute_discriminator_loss(side.latents, side.noise, side.condition)["r1"]
        batch = side.batch([side.noise, *noise], [POSITIONS] * 3)
        start = side.ours.simulate(batch)
        fake = side.ours.generator(*start).detach()
        ours = side.ours.update_critic(fake, start.condition, batch)["loss/r1"]
        assert ours < 1e-10 < 1e-4 < theirs


class TestInputs:
    @each_world
    def test_noised_real_images(self, world: str) -> None:
        side = SideBySide(world, student_steps=4, input_simulation="noised-real")
        steps = torch.tensor([0, 3, 1, 2])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randint", lambda *_args, **_kwargs: steps)
            x_t, t = side.theirs._build_student_input(side.latents, side.noise)
        found = side.ours.simulate(side.batch([side.noise], [steps]))
        assert_close(found.t, t)
        torch.testing.assert_close(found.x_t, x_t, rtol=1e-6, atol=1e-7)

    @each_world
    @pytest.mark.parametrize("step", range(4))
    def test_backward_simulation(self, world: str, step: int) -> None:
        side = SideBySide(world, student_steps=4)
        noise = [numbers(seed, *side.shape) for seed in (5, 6, 7)]
        with side.drawing(noise, [], step):
            x_t, t = side.theirs._build_student_input(side.latents, side.noise, side.condition)
        found = side.ours.simulate(side.batch([side.noise, *noise], [], step))
        assert_close(found.t, t)
        torch.testing.assert_close(found.x_t, x_t, rtol=1e-6, atol=1e-6)
