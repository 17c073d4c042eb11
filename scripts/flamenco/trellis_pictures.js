// SPDX-License-Identifier: GPL-3.0-or-later
// A job type of Flamenco 3: a folder of pictures becomes 3D objects on all workers that run Blender.
//
// Put this file into the folder `scripts` beside flamenco-manager. Every worker needs the script, the backend's Python
// and the folders at the same paths, or at paths that Flamenco's variables translate.

"use strict";

const JOB_TYPE = {
    label: "TRELLIS Pictures",
    settings: [
        { key: "pictures", type: "string", subtype: "dir_path", required: true, visible: "submission",
          description: "Folder of pictures, each of one object" },
        { key: "output", type: "string", subtype: "dir_path", required: true,
          description: "Folder for the objects and the report; on storage that all workers share" },
        { key: "script", type: "string", subtype: "file_path", required: true, visible: "submission",
          description: "scripts/batch.py of the unpacked extension" },
        { key: "python", type: "string", subtype: "file_path", required: false, default: "", visible: "submission",
          description: "Interpreter with the backend's packages; empty where Blender's extension has installed them" },
        { key: "tasks", type: "int32", default: 8, propargs: { min: 1, max: 1000 }, visible: "submission",
          description: "Number of tasks among which the pictures are dealt out" },
        { key: "model", type: "string", required: false, default: "", visible: "submission",
          description: "Name or folder of the model; empty for the bundled one" },
        { key: "seed", type: "int32", default: 1, propargs: { min: 0 }, visible: "submission",
          description: "Seed of the first object of each picture" },
        { key: "seeds", type: "int32", default: 1, propargs: { min: 1, max: 1000 }, visible: "submission",
          description: "Number of objects of each picture" },
        { key: "formats", type: "string", default: "blend,glb", visible: "submission",
          description: "What to write: blend, glb, ply, preview and latents, with commas" },
        { key: "asset_library", type: "string", subtype: "dir_path", required: false, default: "", visible: "submission",
          description: "Folder for Blender's Asset Browser that gets every object too; may stay empty" },
    ],
};

function compileJob(job) {
    const settings = job.settings;
    if (!Number.isInteger(settings.tasks) || settings.tasks < 1) {
        throw new Error("The number of tasks must be 1 or more.");
    }
    const parts = [];
    for (let part = 1; part <= settings.tasks; part++) {
        const share = `${part}/${settings.tasks}`;
        // A picture that cannot be used must not fail its part: Flamenco cancels a job of which a tenth has failed.
        parts.push(authorTask(`objects ${share}`, settings, ["--share", share, "--lenient"]));
    }
    // What a part has made is left as it is; what none of them has, because its worker died for good, is made here.
    // Its exit code tells whether anything could not be made.
    const report = authorTask("report", settings, []);
    for (const part of parts) {
        report.addDependency(part);
        job.addTask(part);
    }
    job.addTask(report);
}

function authorTask(name, settings, share) {
    const task = author.Task(name, "blender");
    task.addCommand(author.Command("exec", {
        exe: "{blender}",
        args: ["--background", "--python", settings.script, "--", ...batchArguments(settings), ...share],
    }));
    return task;
}

// Always with --resume: a task that Flamenco runs again goes on where it was.
function batchArguments(settings) {
    const given = ["--input", settings.pictures, "--output", settings.output, "--resume", "--json"];
    given.push("--seed", String(settings.seed), "--seeds", String(settings.seeds), "--formats", settings.formats);
    const optional = { "--model": "model", "--python": "python", "--asset-library": "asset_library" };
    for (const [option, key] of Object.entries(optional)) {
        if (settings[key]) {
            given.push(option, settings[key]);
        }
    }
    return given;
}
