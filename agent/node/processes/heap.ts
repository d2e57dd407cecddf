// How eagerly V8 gives memory back in a process that stays.
import { setFlagsFromString } from 'node:v8'

/**
 * From here on V8 lets the heap grow by about half of what is in use before it collects garbage, where it would let it
 * grow to a multiple. Not from the start: while a process loads its code time is worth more, and V8 takes compiled code
 * from the disk only under the flags that it was made with.
 */
export function keepHeapSmall(): void {
  setFlagsFromString('--optimize-for-size')
}
