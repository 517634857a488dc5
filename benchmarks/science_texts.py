"""Made solutions with LaTeX and Markdown, as chat models write them; the numbers are drawn."""

# ruff: noqa: E501 - a line of a solution is a step

from random import Random

PROJECTILE = r"""To find the range, we use the equations of projectile motion.

**Step 1: Resolve the initial velocity.**
The horizontal component is \( v_x = v_0 \cos\theta = @a \cos(@b^\circ) \).
The vertical component is \( v_y = v_0 \sin\theta = @a \sin(@b^\circ) \).

**Step 2: Time of flight.**
\[
t = \frac{2 v_y}{g} = \frac{2 \times @c}{9.81} \approx @d \, \text{s}
\]
Since air resistance is neglected, the horizontal velocity stays constant, i.e. $v_x \neq 0$ throughout.

**Step 3: Range.**
\[
R = v_x t = @c \times @d \approx @e \, \text{m}
\]
Therefore, the range of the projectile is about **@e m**."""

GAS = r"""1. Write down the ideal gas law: $PV = nRT$.
2. Convert the temperature: $T = @a + 273.15 = @b \text{ K}$.
3. Convert the volume: $V = @c \times 10^{-3} \text{ m}^3$, which is small compared with $1 \text{ m}^3$.
4. Solve for the amount of substance:
   $$n = \frac{PV}{RT} = \frac{(@d \times 10^{5})(@c \times 10^{-3})}{8.314 \cdot @b}$$
5. So $n \approx 0.@e \text{ mol}$, and the number of molecules is $N = n N_A \geq @a \times 10^{23}$.
6. The mass follows from $m = n \cdot M$, so the gas weighs roughly @c grams.

Answer: $0.@e$ mol"""

QUADRATIC = r"""We solve $x^2 - @a x + @b = 0$ with the quadratic formula.

- The discriminant is $\Delta = b^2 - 4ac = @a^2 - 4 \cdot @b = @c$.
- Since $\Delta \geq 0$, there are two real roots.
- The roots are $x_{1,2} = \frac{@a \pm \sqrt{@c}}{2}$.
- Numerically, $\sqrt{@c} \approx @d$, so $x_1 = \frac{@a + @d}{2}$ and $x_2 = \frac{@a - @d}{2}$.
- The product of the roots has to be @b, which we can check: $x_1 x_2 = @e$.

Because both roots are positive, the larger one is the answer: $\boxed{@e}$."""

BUFFER = r"""### Step 1: Identify the species
The buffer consists of CH$_3$COOH ($\text{p}K_a = 4.76$) and its conjugate base CH$_3$COO$^-$.

### Step 2: Henderson–Hasselbalch equation
The pH is given by $\text{pH} = \text{p}K_a + \log \frac{[\text{A}^-]}{[\text{HA}]}$.
Here $[\text{A}^-] = 0.@a$ M and $[\text{HA}] = 0.@b$ M, so the ratio is $\frac{0.@a}{0.@b} \approx 1.@c$.

### Step 3: Compute
Adding @d mL of HCl converts A$^-$ into HA, so $[\text{A}^-]$ becomes 0.@e M.
Thus $\text{pH} = 4.76 + \log(1.@c) \approx 4.@d$, i.e. the solution is acidic.

**Answer:** pH ≈ 4.@d"""

LENS = r"""Given: the wavelength is \(\lambda = @a \text{ nm}\), the slit spacing is \(d = 0.@b \text{ mm}\), and the screen is @c m away.

1) For constructive interference we need \(d \sin\theta = m\lambda\).
2) For small angles, \(\sin\theta \approx \tan\theta = \frac{y}{L}\).
3) Hence \(y = \frac{m \lambda L}{d} = \frac{@a \times 10^{-9} \cdot @c}{0.@b \times 10^{-3}}\).
4) This gives \(y \approx @d \text{ mm}\) for the first bright fringe.
5) The fringe spacing doubles if \(\lambda\) is halved, so at @e nm it is \(\Delta y \leq @d \text{ mm}\).

The final answer is **@d mm**."""

DECAY = r"""The number of nuclei obeys $N(t) = N_0 e^{-\lambda t}$ with $\lambda = \frac{\ln 2}{t_{1/2}}$.

The half-life is $t_{1/2} = @a$ days, so $\lambda = \frac{0.693}{@a} \approx 0.0@b \text{ day}^{-1}$.

After $t = @c$ days the remaining fraction is $e^{-0.0@b \times @c} \approx 0.@d$, which means that @d% of the sample has decayed.

The activity is $A = \lambda N$; since $\lambda$ increases with time, the activity drops faster than $N$.

Therefore $A = @e \text{ Bq}$ and the dose rate $\dot{D} \propto A$ is largest at $t \to \infty$."""

ENZYME = r"""Let's go through the options one by one:

* **Option A** says that the inhibitor binds the active site. A competitive inhibitor raises $K_m$ but leaves $V_{max}$ unchanged.
* **Option B** says that $V_{max}$ falls from @a to @b $\mu$mol/min. That is typical of a non-competitive inhibitor.
* **Option C** requires $K_m$ to double from @c µM to @d µM, while the ratio $V_{max}/K_m$ stays constant.
* **Option D** is about the Hill coefficient $n_H = 1.@e$, i.e. positive cooperativity.

From the data, $K_m$ rises from @c µM to @d µM and $V_{max}$ stays at @a $\mu$mol/min.
So the inhibitor must bind to the enzyme–substrate complex only, and **Option B** fits best.

<answer>
B
</answer>"""

STRESS = r"""**1. Cross-section.** The area is $A = \pi r^2 = \pi \cdot (@a \text{ mm})^2 \approx @b \text{ mm}^2$.

**2. Stress.** The stress is $\sigma = \frac{F}{A} = \frac{@c \text{ kN}}{@b \text{ mm}^2} \approx @d \text{ MPa}$.

**3. Strain.** With Young's modulus $E = 2@a \text{ GPa}$ we get $\varepsilon = \frac{\sigma}{E} = @e \times 10^{-4}$.

**4. Elongation.** A rod of length $L = @c \text{ cm}$ becomes longer by $\Delta L = \varepsilon L \approx 0.@d \text{ mm}$.

**5. Safety.** As $\sigma < \sigma_y = @e \text{ MPa}$, the rod yields plastically, so $\alpha \Rightarrow \beta$ and $\sqrt{\sigma^2 + 3\tau^2} \le \sigma_y$."""

TEMPLATES = (PROJECTILE, GAS, QUADRATIC, BUFFER, LENS, DECAY, ENZYME, STRESS)


def science_texts(per_template: int) -> list[list[str]]:
    """For each problem (a template) some solutions that differ in their numbers."""
    problems = []
    for number, template in enumerate(TEMPLATES):
        texts = []
        for sample in range(per_template):
            rng, text = Random(f"{number}/{sample}"), template
            for letter in "abcde":
                text = text.replace("@" + letter, str(rng.randint(11, 97)))
            texts.append(text)
        problems.append(texts)
    return problems
