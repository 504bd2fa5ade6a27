// Projects that have installed the package
// ----------------------------------------

import {execFile} from 'node:child_process';
import {cp, mkdir, mkdtemp, symlink, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {dirname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';

export const modules = fileURLToPath(new URL('../../node_modules', import.meta.url));
const assembled = process.env.BACKWIRE_PACKAGE;
if (!assembled) {
  throw new Error('BACKWIRE_PACKAGE is not set: `cargo xtask test --only package` makes the package and sets it');
}

// Runs a program, and returns what it prints. If it fails, the error has that.
export async function run(program, args, cwd) {
  try {
    return (await promisify(execFile)(program, args, {cwd, env: {...process.env, NODE_ENV: 'production', NODE_TEST_CONTEXT: undefined}})).stdout;
  } catch (error) {
    throw new Error(`${program} ${args.join(' ')}: ${error.message}\n${error.stdout}`);
  }
}

// A program of the packages of this repository.
export const tool = name => join(modules, '.bin', name);

// Packs the package and installs it in a new folder. The projects are folders in it. Further
// packages are those of this repository, so that nothing is downloaded.
export async function install() {
  const folder = await mkdtemp(join(tmpdir(), 'backwire-'));
  const [{filename, files}] = JSON.parse(await run('npm', ['pack', '--json', '--pack-destination', folder, assembled], folder));
  await writeFile(join(folder, 'package.json'), '{"private": true}');
  await run('npm', ['install', '--offline', '--no-audit', '--no-fund', join(folder, filename)], folder);
  await link(folder, ['backbone', 'underscore']);
  return {folder, tarball: join(folder, filename), files: files.map(({path}) => path)};
}

// Makes a project from these files, by their names. With packages of its own it also has a copy of
// ours, which finds them.
export async function makeProject({folder}, name, files, packages = []) {
  const project = join(folder, name);
  await write(project, {'package.json': '{"private": true}', ...files});
  await link(project, packages);
  if (packages.length) await cp(join(folder, 'node_modules/backwire'), join(project, 'node_modules/backwire'), {recursive: true});
  return project;
}

async function link(project, packages) {
  for (const each of packages) {
    const target = join(project, 'node_modules', each);
    await mkdir(dirname(target), {recursive: true});
    await symlink(join(modules, each), target);
  }
}

// Copies files of packages into a project, for pages that load them.
export async function copyFiles(project, ...paths) {
  for (const path of paths) await cp(join(modules, path), join(project, 'lib', path.split('/').at(-1)));
}

async function write(project, files) {
  for (const name in files) {
    const path = join(project, name);
    await mkdir(dirname(path), {recursive: true});
    await writeFile(path, files[name]);
  }
}
