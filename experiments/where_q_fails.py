"""Where is q(z | x) the posterior, where is it not, and what mends it? Three images, drawn.

A VAE with a two-dimensional latent, so that a grid gives p(z | x) and log p(x). Among the test images three are chosen
by the KL from q(z | x) to p(z | x): its 2 % quantile, its 90 % quantile and the largest. For each the figure shows the
posterior on the grid, q of the encoder and the distribution of `refine`, and log p(x) by the grid, by 1,000 draws from
q, and by `evaluate(method="adaptive")`.

    python experiments/where_q_fails.py --data-dir DIR --figure where_q_fails.png --out where_q_fails.json
"""

import json

import numpy as np
import results_file
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import ppl_vae
from ppl_vae.diagnostics import log_marginal_likelihood, quadrature_posterior

Q, REFINED = "#d55e00", "#0072b2"  # told apart by colour-blind readers


def main(argv: list[str] | None = None) -> dict:
    parser = results_file.parser_of(__doc__)
    parser.add_argument("--data", default="mnist", help="data set (mnist)")
    parser.add_argument("--data-dir", help="folder of the data sets ($PPL_VAE_DATA)")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--train", type=int, default=20_000, help="training images")
    parser.add_argument("--take", type=int, default=300, help="test images, of which three are drawn")
    parser.add_argument("--num-samples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    results_file.add_outputs(parser, figure="figure")
    args = parser.parse_args(argv)

    data = ppl_vae.data.load(args.data, data_dir=args.data_dir, likelihood=ppl_vae.Bernoulli).take(train=args.train)
    vae = ppl_vae.build(data, latent_dim=2, encoder=ppl_vae.GatedMLP, decoder=ppl_vae.GatedMLP, seed=args.seed)
    ppl_vae.fit(vae, data, epochs=args.epochs, seed=args.seed)
    test = data.test[: args.take]

    by_q, adapted = (
        ppl_vae.evaluate(vae, test, num_samples=args.num_samples, method=method, seed=args.seed).per_datum
        for method in ("importance", "adaptive")
    )
    kl = (adapted.log_px - by_q.elbo).to_numpy()
    order = np.argsort(kl)
    chosen = [int(order[round(share * (len(order) - 1))]) for share in (0.02, 0.9, 1.0)]
    exact = log_marginal_likelihood(vae, test[chosen], method="quadrature", seed=args.seed)
    found = {
        "command": results_file.command(__file__, argv),
        "units": "nats",
        "images": len(test),
        "nll": {"q": -float(by_q.log_px.mean()), "adaptive": -float(adapted.log_px.mean())},
        "k_hat_high": float((by_q.pareto_k > ppl_vae.diagnostics.good_k(args.num_samples)).mean()),
        "believed": float(adapted.believed.mean()),
        "largest_error_of_the_grid": float(exact.log_px_error.max()),
        "drawn": [
            {
                "image": i,
                "kl": float(exact.log_px[number]) - float(by_q.elbo.iloc[i]),
                "grid": float(exact.log_px[number]),
                "q": float(by_q.log_px.iloc[i]),
                "k_hat": float(by_q.pareto_k.iloc[i]),
                "adaptive": float(adapted.log_px.iloc[i]),
                "believed": bool(adapted.believed.iloc[i]),
            }
            for number, i in enumerate(chosen)
        ],
        "versions": results_file.versions(),
    }
    print(json.dumps(found, indent=1))
    if args.figure:
        results_file.draw(drawn(vae, test, chosen, found["drawn"], args.seed), args.figure, dpi=110)
    results_file.write(found, args.out)
    return found


def drawn(vae: ppl_vae.VAE, test: ppl_vae.data.Split, chosen: list[int], rows: list[dict], seed: int) -> Figure:
    three = test[chosen]
    figure = Figure(figsize=(12.5, 4.3), layout="constrained")
    plane, *panels = figure.subplots(1, 4, width_ratios=[1.15, 1, 1, 1])
    with torch.no_grad():
        z = vae.encode(test.x).mean
    plane.scatter(*z.T.numpy(), c=test.y.numpy() if test.y is not None else "0.6", cmap="tab10", s=5, alpha=0.6)
    for letter, (a, b) in zip("ABC", z[chosen].tolist(), strict=True):
        plane.annotate(letter, (a, b), ha="center", va="center", weight="bold", bbox={"boxstyle": "circle", "fc": "w"})
    plane.set(title="means of q(z | x), test images\ncoloured by label", xlabel="$z_1$", ylabel="$z_2$")
    density = quadrature_posterior(vae, three, seed=seed)["density"]
    with torch.no_grad():
        q = vae.encode(three.x)
    refined = vae.refine(three, seed=seed)
    names = ("near the posterior", "farther than for 90 % of the images", "the farthest of all")
    for i, (axes, row, name) in enumerate(zip(panels, rows, names, strict=True)):
        p = density.isel(obs=i)
        posterior(axes, p.u_0.values, p.u_1.values, p.log_density.values)
        ellipses(axes, q.mean[i], torch.diag(q.stddev[i]), Q, "q of the encoder")
        for number in range(refined.loc.shape[1]):  # several where climbs from the prior found a mode that q misses
            ellipses(axes, refined.loc[i, number], refined.scale_tril[i, number], REFINED, "" if number else "refined")
        thumbnail = axes.inset_axes([0.02, 0.72, 0.26, 0.26])
        thumbnail.imshow(three.x[i].squeeze().numpy(), cmap="gray_r")
        thumbnail.set(xticks=[], yticks=[])
        verdict = "believed" if row["k_hat"] <= 0.67 else "not to be believed"
        axes.set(xlabel="$z_1$")
        axes.set_title(
            f"{'ABC'[i]}: q is {name}\nKL(q, posterior) = {row['kl']:.2f} nats\n"
            f"log p(x): grid {row['grid']:.2f},\nq {row['q']:.2f} (k-hat {row['k_hat']:.2f}, {verdict}),\n"
            f"adaptive {row['adaptive']:.2f} ({'believed' if row['believed'] else 'not believed'})",
            fontsize=9,
        )
    panels[0].set_ylabel("$z_2$")
    panels[-1].legend(loc="lower right", fontsize=8)
    return figure


def posterior(axes: Axes, u_0: np.ndarray, u_1: np.ndarray, log_density: np.ndarray) -> None:
    """p(z | x) on its grid, zoomed to where it is above a thousandth of its largest value."""
    density = np.exp(log_density - log_density.max())
    axes.contourf(u_0, u_1, density.T**0.5, levels=np.linspace(0.05, 1, 12), cmap="Greys")  # faint modes, too
    for axis, (u, largest) in {"x": (u_0, density.max(1)), "y": (u_1, density.max(0))}.items():
        inside = u[largest > 1e-3]
        margin = 0.35 * (inside[-1] - inside[0])
        getattr(axes, f"set_{axis}lim")(inside[0] - margin, inside[-1] + margin)


def ellipses(axes: Axes, loc: torch.Tensor, scale_tril: torch.Tensor, colour: str, label: str) -> None:
    """One and two scales around the centre."""
    angle = torch.linspace(0, 2 * torch.pi, 200, dtype=loc.dtype)
    circle = torch.stack([angle.cos(), angle.sin()])
    for number, line in ((1, "-"), (2, "--")):
        points = loc[:, None] + number * scale_tril @ circle
        axes.plot(*points.numpy(), line, color=colour, lw=1.6, label=label if number == 1 else None)


if __name__ == "__main__":
    main()
