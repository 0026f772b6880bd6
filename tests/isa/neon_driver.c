/* Runs microkernels on the operands in a file and writes the operands back.
   Words of the input, all 64 bits: bytes of the image, calls; for each call: 32 or 64, slot, arguments, and for each of
   these whether it is an offset into the image, and its value; then the image, 64-byte aligned from its own start. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

extern void fastbp_fill_f32(int64_t *addresses), fastbp_fill_f64(int64_t *addresses);

#define A(i) argument[i]
typedef void (*microkernel)(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                            int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t);

int main(int argc, char **argv) {
  static int64_t addresses[2][256];
  FILE *in = argc == 3 ? fopen(argv[1], "rb") : NULL;
  if (!in) return 2;
  fseek(in, 0, SEEK_END);
  long bytes = ftell(in);
  rewind(in);
  int64_t *words = malloc(bytes);
  if (!words || fread(words, 1, bytes, in) != (size_t)bytes) return 3;
  int64_t size = words[0], calls = words[1];
  char *image = aligned_alloc(4096, (size + 4095) / 4096 * 4096);
  if (!image) return 4;
  for (int64_t i = 0; i < size; i++) image[i] = ((char *)words)[bytes - size + i];

  fastbp_fill_f32(addresses[0]);
  fastbp_fill_f64(addresses[1]);
  for (int64_t *call = words + 2; calls--; call += 3 + 2 * call[2]) {
    int64_t argument[20] = {0}; /* a microkernel that takes fewer ignores the rest */
    if (call[2] > 20) return 5;
    for (int64_t i = 0; i < call[2]; i++)
      argument[i] = call[4 + 2 * i] + (call[3 + 2 * i] ? (int64_t)image : 0);
    ((microkernel)addresses[call[0] == 64][call[1]])(A(0), A(1), A(2), A(3), A(4), A(5), A(6), A(7), A(8), A(9), A(10),
                                                     A(11), A(12), A(13), A(14), A(15), A(16), A(17), A(18), A(19));
  }
  FILE *out = fopen(argv[2], "wb");
  return out && fwrite(image, 1, size, out) == (size_t)size && !fclose(out) ? 0 : 6;
}
