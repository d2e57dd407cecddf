// Serves a folder over TLS, beside a node: what is asked for is read and sent, nothing more. Run by startFileServer.
// usage: file-server.ts ADDRESS PORT CERT KEY FOLDER
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { join, normalize } from 'node:path'

const [address = '', port = '', certFile = '', keyFile = '', folder = ''] = process.argv.slice(2)

createServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, (request, response) => {
  const path = normalize(new URL(request.url ?? '/', 'https://server').pathname)
  try {
    response.end(readFileSync(join(folder, path)))
  } catch {
    response.statusCode = 404
    response.end()
  }
}).listen(Number(port), address, () => console.log('listening'))
