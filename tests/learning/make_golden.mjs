// Makes golden/outputs.json: what the real TensorFlow.js says to a fixed input, for every default task's model and for one
// whose padding is odd (golden/odd/model.json and weights.bin).
// usage: cd scripts/models && npm ci && node ../../tests/learning/make_golden.mjs
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import path from 'node:path'
import { fileURLToPath } from 'node:url'

const here = path.dirname(fileURLToPath(import.meta.url))
const tf = createRequire(path.join(process.cwd(), 'package.json'))('@tensorflow/tfjs')

const load = async (folder) => {
  const json = JSON.parse(await readFile(path.join(folder, 'model.json'), 'utf8'))
  const bin = await readFile(path.join(folder, 'weights.bin'))
  return await tf.loadLayersModel(tf.io.fromMemory({
    modelTopology: json.modelTopology,
    weightSpecs: json.weightsManifest.flatMap((group) => group.weights),
    weightData: bin.buffer.slice(bin.byteOffset, bin.byteOffset + bin.byteLength)
  }))
}

const odd = tf.sequential({ name: 'odd', layers: [
  tf.layers.conv2d({ name: 'a', inputShape: [9, 7, 1], filters: 4, kernelSize: [4, 3], strides: 2, padding: 'same', activation: 'tanh',
    kernelInitializer: tf.initializers.glorotUniform({ seed: 1 }), biasInitializer: tf.initializers.randomUniform({ minval: -1, maxval: 1, seed: 2 }) }),
  tf.layers.maxPooling2d({ name: 'b', poolSize: [2, 2], strides: [2, 2], padding: 'same' }),
  tf.layers.dropout({ name: 'c', rate: 0.5 }),
  tf.layers.flatten({ name: 'd' }),
  tf.layers.dense({ name: 'e', units: 5, useBias: false, kernelInitializer: tf.initializers.glorotUniform({ seed: 3 }) }),
  tf.layers.activation({ name: 'f', activation: 'sigmoid' }),
  tf.layers.dense({ name: 'g', units: 2, kernelInitializer: tf.initializers.glorotUniform({ seed: 4 }) })
] })
await mkdir(path.join(here, 'golden', 'odd'), { recursive: true })
await odd.save(tf.io.withSaveHandler(async (artifacts) => {
  const { modelTopology, weightSpecs, weightData } = artifacts
  const json = { format: 'layers-model', modelTopology, weightsManifest: [{ paths: ['weights.bin'], weights: weightSpecs }] }
  await writeFile(path.join(here, 'golden', 'odd', 'model.json'), JSON.stringify(json))
  await writeFile(path.join(here, 'golden', 'odd', 'weights.bin'), Buffer.from(weightData))
  return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } }
}))

const outputs = {}
const folders = ['titanic', 'breast_cancer', 'digits', 'mnist', 'cifar10', 'lus_covid', 'simple_face']
  .map((id) => [id, path.join(here, '..', '..', 'tasks', id)])
for (const [id, folder] of [...folders, ['odd', path.join(here, 'golden', 'odd')]]) {
  const model = await load(folder)
  const shape = [2, ...model.inputs[0].shape.slice(1)]
  const size = shape.reduce((a, b) => a * b)
  // Small integers over 101 are the same float32 numbers everywhere.
  const input = tf.tensor(Float32Array.from({ length: size }, (_, i) => ((i * 37) % 101) / 101), shape)
  outputs[id] = await model.predict(input).array()
}
await writeFile(path.join(here, 'golden', 'outputs.json'), JSON.stringify(outputs, null, 1) + '\n')
