"""`train` at a tiny size, on a machine that has nothing but the packages a training may ask for."""

import sys
from dataclasses import replace
from functools import partial

ABSENT = {"matplotlib", "onnxruntime", "rembg", "skimage", "tensorboard", "tqdm", "transformers", "trimesh"}


class Bare:
    """The finders of this interpreter, which find none of the packages that other machines may lack."""

    def __init__(self, finders):
        self.finders = list(finders)

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ABSENT:
            return None
        found = (finder.find_spec(name, path, target) for finder in self.finders)
        return next((spec for spec in found if spec is not None), None)


if __name__ == "__main__":
    sys.meta_path[:] = [Bare(sys.meta_path)]
    from training_recipe import tiny_recipe

    from backend.training import command
    from backend.training.calibrate import CANDIDATES
    from backend.training.starter import finish

    recipe = tiny_recipe(views=1, latent_batch=2)
    loops = {name: replace(loop, minutes=1.0) for name, loop in recipe.loops.items()}
    command.Recipe = lambda: replace(recipe, loops=loops)
    finish.best_sampler = partial(finish.best_sampler, candidates=CANDIDATES[:2])
    sys.exit(command.main(sys.argv[1:]))
