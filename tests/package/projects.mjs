// The files of small projects
// ---------------------------

const page = body => `<!doctype html><meta charset="utf-8"><title>Todos</title><body>${body}</body>`;
const script = path => `<script src="${path}"></script>`;
const BACKBONE = ['lib/underscore-umd.js', 'lib/backbone.js'].map(script).join('');

const APP = `import Backbone from 'backbone';
import Backwire from 'backwire';
window.app = {Backbone, Backwire: Backwire.install(Backbone, {url: '/'})};
`;
const COMMON_JS_APP = `const Backbone = require('backbone');
const Backwire = require('backwire');
window.app = {Backbone, Backwire: Backwire.install(Backbone, {url: '/'})};
`;
const config = backwire => `require.config({paths: {underscore: 'lib/underscore-umd', backbone: 'lib/backbone', jquery: 'empty:', backwire: '${backwire}'}});
define('jquery', [], () => undefined);
`;
const AMD_APP = `require(['backbone', 'backwire'], (Backbone, Backwire) => {
  window.app = {Backbone, Backwire: Backwire.install(Backbone, {url: '/'})};
});
`;

// Each project is a page that sets `window.app`. `build` are the arguments of a tool.
export const projects = {
  vite: {
    files: {'index.html': page('<script type="module" src="./main.js"></script>'), 'main.js': APP},
    build: ['vite', 'build', '--base', './', '--logLevel', 'warn'],
    path: 'dist/index.html'
  },
  esbuild: {
    files: {'index.html': page(script('out.js')), 'main.js': APP},
    build: ['esbuild', 'main.js', '--bundle', '--minify', '--outfile=out.js', '--log-level=warning']
  },
  'esbuild with require': {
    files: {'index.html': page(script('out.js')), 'main.js': COMMON_JS_APP},
    build: ['esbuild', 'main.js', '--bundle', '--minify', '--outfile=out.js', '--log-level=warning']
  },
  'script tag': {
    files: {'index.html': page(`${BACKBONE}<script src="../node_modules/backwire/backwire.js" data-url="/"></script><script>window.app = {Backbone, Backwire};</script>`)}
  },
  'script tag with everything in one file': {
    files: {'index.html': page(`${BACKBONE}${script('../node_modules/backwire/backwire.umd.js')}<script>window.app = {Backbone, Backwire: Backwire.install(Backbone)};</script>`)}
  },
  'require.js': {
    files: {'index.html': page(`${script('lib/require.js')}${script('main.js')}`), 'main.js': config('../node_modules/backwire/backwire.umd') + AMD_APP}
  },
  'require.js and the script of the tag': {
    files: {'index.html': page(`${script('lib/require.js')}${script('main.js')}`), 'main.js': config('../node_modules/backwire/backwire') + AMD_APP}
  },
  'require.js and a script tag': {
    files: {'index.html': page(`${script('lib/require.js')}<script src="../node_modules/backwire/backwire.js" data-url="/"></script>${script('main.js')}`), 'main.js': config('nowhere') + AMD_APP}
  },
  'require.js with its optimizer': {
    files: {'index.html': page(`${script('lib/require.js')}${script('out.js')}`), 'main.js': config('../node_modules/backwire/backwire.umd') + AMD_APP},
    build: ['r.js', '-o', 'baseUrl=.', 'mainConfigFile=main.js', 'name=main', 'out=out.js', 'optimize=none', 'findNestedDependencies=true']
  }
};
