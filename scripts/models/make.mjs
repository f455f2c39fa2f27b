// Makes tasks/<id>/model.json and weights.bin for every default task, with the real TensorFlow.js.
//
// Every initialiser is seeded and every layer named, so running it again gives the same bytes.
// usage: node make.mjs [FOLDER_OF_TASKS] [TASK_ID ...]
import { mkdir, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import * as tf from '@tensorflow/tfjs'

/** A sequential model under construction; hands each layer its name and its seed. */
class Stack {
  constructor (id, inputShape) {
    this.id = id
    this.inputShape = inputShape
    this.model = tf.sequential({ name: id })
    this.layers = 0
  }

  add (kind, config) {
    const first = this.layers === 0 ? { inputShape: this.inputShape } : {}
    this.layers += 1
    this.model.add(tf.layers[kind]({ name: `${kind.toLowerCase()}_${this.layers}`, ...first, ...config }))
    return this
  }

  weighted (kind, config) {
    // Glorot and Bengio 2010, the default of Keras; uniform, so that it needs no transcendental functions.
    const kernelInitializer = tf.initializers.glorotUniform({ seed: 1000 + this.layers })
    return this.add(kind, { kernelInitializer, ...config })
  }

  dense (units, activation) { return this.weighted('dense', { units, activation }) }
  conv (filters, kernelSize, options = {}) {
    return this.weighted('conv2d', { filters, kernelSize, activation: 'relu', ...options })
  }

  pool () { return this.add('maxPooling2d', { poolSize: 2, strides: 2 }) }
  flatten () { return this.add('flatten', {}) }
  average () { return this.add('globalAveragePooling2d', {}) }
}

const MODELS = {
  titanic: (s) => s.dense(124, 'relu').dense(64, 'relu').dense(32, 'relu').dense(1, 'sigmoid'),
  mnist: (s) => s.conv(16, 3).pool().conv(32, 3).pool().conv(32, 3).flatten().dense(64, 'relu').dense(10, 'softmax'),
  lus_covid: (s) => s.conv(8, 5).pool().conv(16, 5).pool().flatten().dense(2, 'softmax'),
  cifar10: (s) => s.conv(32, 3, { padding: 'same' }).pool().conv(64, 3, { padding: 'same' }).pool()
    .conv(64, 3, { padding: 'same' }).average().dense(64, 'relu').dense(10, 'softmax'),
  simple_face: (s) => s.conv(16, 3, { strides: 2 }).conv(32, 3, { strides: 2 }).conv(64, 3, { strides: 2 })
    .conv(64, 3, { strides: 2 }).average().dense(2, 'softmax'),
  breast_cancer: (s) => s.dense(16, 'relu').dense(8, 'relu').dense(1, 'sigmoid'),
  digits: (s) => s.flatten().dense(32, 'relu').dense(10, 'softmax')
}

const INPUTS = {
  titanic: [6],
  mnist: [28, 28, 3],
  lus_covid: [100, 100, 3],
  cifar10: [32, 32, 3],
  simple_face: [200, 200, 3],
  breast_cancer: [30],
  digits: [8, 8, 1]
}

async function save (model, folder) {
  await model.save(tf.io.withSaveHandler(async (artifacts) => {
    const { modelTopology, format, generatedBy, convertedBy, weightSpecs, weightData } = artifacts
    const weightsManifest = [{ paths: ['weights.bin'], weights: weightSpecs }]
    const json = { format, generatedBy, convertedBy, modelTopology, weightsManifest }
    await mkdir(folder, { recursive: true })
    await writeFile(path.join(folder, 'model.json'), JSON.stringify(json, null, 1) + '\n')
    await writeFile(path.join(folder, 'weights.bin'), new Uint8Array(weightData))
    return { modelArtifactsInfo: { dateSaved: new Date(0), modelTopologyType: 'JSON' } }
  }))
}

const here = path.dirname(fileURLToPath(import.meta.url))
const [tasks = path.join(here, '..', '..', 'tasks'), ...wanted] = process.argv.slice(2)
await tf.setBackend('cpu')
for (const id of wanted.length > 0 ? wanted : Object.keys(MODELS)) {
  if (!(id in MODELS)) {
    console.error(`no model is written for the task ${id}; there are: ${Object.keys(MODELS).join(', ')}`)
    process.exit(2)
  }
  const { model } = MODELS[id](new Stack(id, INPUTS[id]))
  await save(model, path.join(tasks, id))
  console.log(`${id}: ${model.countParams()} parameters in ${model.weights.length} tensors`)
}
