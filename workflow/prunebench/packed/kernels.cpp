// Products of packed matrices with a few vectors, on CPUs with AVX-512 VBMI2 and BF16. A plain C interface for ctypes.
//
// A packed matrix [rows, columns] has a mask of 32-bit words, a row of them for each row of the matrix, in which bit i
// of word w belongs to column 32 w + i, and the kept values in order. One instruction (vpexpand) puts the kept values of
// 32 columns in their places. Behind the last value there are 64 bytes that may be read.
//
// Each row is summed by one thread in one order: the number of threads changes no bit of a result.

#include <cstdint>

#if defined(__x86_64__) && defined(__GNUC__)
#define PRUNEBENCH_X86
#include <immintrin.h>
#define FAST __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi2,avx512bf16,popcnt")))
#endif

namespace {

constexpr int64_t AHEAD = 1024;  // bytes that are asked for before they are needed

struct Packed {
  int64_t rows, columns;
  int64_t group;           // columns that share a scale, a multiple of 32
  const uint32_t *mask;    // [rows, ceil(columns / 32)]
  const void *values;      // the kept values, with 64 more bytes that may be read
  const int64_t *starts;   // [rows + 1]: the place of each row's first value
  const float *scales;     // [rows, ceil(columns / group)], or null
  const float *bias;       // [rows], or null
};

enum Kind : int64_t { BFLOAT16 = 0, FLOAT16 = 1, FLOAT32 = 2, INT8 = 3 };

// Run `work` on runs of rows, in `threads` threads; runs are short, so that a thread that is held up holds up no other.
template <typename Work> void in_parallel(int64_t rows, int64_t threads, const Work &work) {
  if (threads <= 1) return work(0, rows);
  const int64_t pieces = threads * 8, length = (rows + pieces - 1) / pieces;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    const int64_t first = piece * length, last = first + length < rows ? first + length : rows;
    if (first < last) work(first, last);
  }
}

#ifdef PRUNEBENCH_X86

// The bits of the columns that the last word of a row has.
inline uint32_t last_columns(int64_t columns) { return columns % 32 ? (1u << (columns % 32)) - 1 : ~0u; }

FAST inline uint16_t rounded(float value) {
  return (uint16_t)_mm_extract_epi16((__m128i)_mm_cvtneps_pbh(_mm_set1_ps(value)), 0);
}

FAST inline __m512i load16(const uint16_t *place) { return _mm512_loadu_si512(place); }

FAST inline __m512i load16(const uint16_t *place, uint32_t columns) { return _mm512_maskz_loadu_epi16(columns, place); }

// Rows of bfloat16 values with BATCH bfloat16 vectors x [BATCH, columns]; out is bfloat16 [BATCH, rows].
template <int BATCH>
FAST void brief_rows(const Packed &matrix, const uint16_t *x, uint16_t *out, int64_t first, int64_t last) {
  const int64_t words = (matrix.columns + 31) / 32;
  const uint32_t end = last_columns(matrix.columns);
  const uint32_t *mask = matrix.mask + first * words;
  const uint16_t *values = (const uint16_t *)matrix.values + matrix.starts[first];
  for (int64_t row = first; row < last; ++row, mask += words) {
    __m512 even[BATCH], odd[BATCH];
    for (int b = 0; b < BATCH; ++b) even[b] = odd[b] = _mm512_setzero_ps();
    int64_t word = 0;
    for (; word + 2 < words; word += 2) {
      const uint32_t m0 = mask[word], m1 = mask[word + 1];
      const uint16_t *second = values + __builtin_popcount(m0);
      _mm_prefetch((const char *)values + AHEAD, _MM_HINT_T0);
      const __m512bh w0 = (__m512bh)_mm512_maskz_expand_epi16(m0, load16(values));
      const __m512bh w1 = (__m512bh)_mm512_maskz_expand_epi16(m1, load16(second));
      values = second + __builtin_popcount(m1);
      for (int b = 0; b < BATCH; ++b) {
        const uint16_t *vector = x + b * matrix.columns + word * 32;
        even[b] = _mm512_dpbf16_ps(even[b], w0, (__m512bh)load16(vector));
        odd[b] = _mm512_dpbf16_ps(odd[b], w1, (__m512bh)load16(vector + 32));
      }
    }
    for (; word < words; ++word) {
      const uint32_t m = mask[word], columns = word + 1 == words ? end : ~0u;
      const __m512bh w = (__m512bh)_mm512_maskz_expand_epi16(m, load16(values));
      values += __builtin_popcount(m);
      for (int b = 0; b < BATCH; ++b)
        even[b] = _mm512_dpbf16_ps(even[b], w, (__m512bh)load16(x + b * matrix.columns + word * 32, columns));
    }
    for (int b = 0; b < BATCH; ++b) {
      const float sum = _mm512_reduce_add_ps(_mm512_add_ps(even[b], odd[b]));
      out[b * matrix.rows + row] = rounded(matrix.bias ? sum + matrix.bias[row] : sum);
    }
  }
}

// The 32 weights of one word as float32; `place` moves on by the values that were read.
template <int64_t KIND> FAST inline void decode(uint32_t m, const char *&place, __m512 &low, __m512 &high) {
  if (KIND == FLOAT32) {
    low = _mm512_maskz_expand_ps(m & 0xffff, _mm512_loadu_ps(place));
    place += 4 * __builtin_popcount(m & 0xffff);
    high = _mm512_maskz_expand_ps(m >> 16, _mm512_loadu_ps(place));
    place += 4 * __builtin_popcount(m >> 16);
  } else if (KIND == INT8) {
    const __m256i bytes = _mm256_maskz_expand_epi8(m, _mm256_loadu_si256((const __m256i *)place));
    low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(bytes)));
    high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(bytes, 1)));
    place += __builtin_popcount(m);
  } else {
    const __m512i both = _mm512_maskz_expand_epi16(m, _mm512_loadu_si512(place));
    const __m256i lower = _mm512_castsi512_si256(both), upper = _mm512_extracti64x4_epi64(both, 1);
    if (KIND == FLOAT16) {
      low = _mm512_cvtph_ps(lower);
      high = _mm512_cvtph_ps(upper);
    } else {
      low = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(lower), 16));
      high = _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(upper), 16));
    }
    place += 2 * __builtin_popcount(m);
  }
}

// Rows of values of any kind with BATCH float32 vectors x [BATCH, columns]; out is float32 [BATCH, rows].
template <int64_t KIND, int BATCH>
FAST void float_rows(const Packed &matrix, const float *x, float *out, int64_t first, int64_t last) {
  const int64_t words = (matrix.columns + 31) / 32, size = KIND == FLOAT32 ? 4 : KIND == INT8 ? 1 : 2;
  const int64_t in_group = matrix.group / 32, groups = (words + in_group - 1) / in_group;
  const uint32_t end = last_columns(matrix.columns);
  const uint32_t *mask = matrix.mask + first * words;
  const char *values = (const char *)matrix.values + size * matrix.starts[first];
  for (int64_t row = first; row < last; ++row, mask += words) {
    __m512 total[BATCH];
    for (int b = 0; b < BATCH; ++b) total[b] = _mm512_setzero_ps();
    for (int64_t group = 0; group < groups; ++group) {
      __m512 low[BATCH], high[BATCH];
      for (int b = 0; b < BATCH; ++b) low[b] = high[b] = _mm512_setzero_ps();
      const int64_t stop = (group + 1) * in_group < words ? (group + 1) * in_group : words;
      for (int64_t word = group * in_group; word < stop; ++word) {
        const uint32_t columns = word + 1 == words ? end : ~0u;
        __m512 w0, w1;
        _mm_prefetch(values + AHEAD, _MM_HINT_T0);
        decode<KIND>(mask[word], values, w0, w1);
        for (int b = 0; b < BATCH; ++b) {
          const float *vector = x + b * matrix.columns + word * 32;
          low[b] = _mm512_fmadd_ps(w0, _mm512_maskz_loadu_ps(columns & 0xffff, vector), low[b]);
          high[b] = _mm512_fmadd_ps(w1, _mm512_maskz_loadu_ps(columns >> 16, vector + 16), high[b]);
        }
      }
      const __m512 scale = _mm512_set1_ps(matrix.scales ? matrix.scales[row * groups + group] : 1.0f);
      for (int b = 0; b < BATCH; ++b) total[b] = _mm512_fmadd_ps(scale, _mm512_add_ps(low[b], high[b]), total[b]);
    }
    for (int b = 0; b < BATCH; ++b) {
      const float sum = _mm512_reduce_add_ps(total[b]);
      out[b * matrix.rows + row] = matrix.bias ? sum + matrix.bias[row] : sum;
    }
  }
}

// Rows of a dense bfloat16 matrix, as `brief_rows`: the control that says what a kernel of equal care does without zeros.
template <int BATCH>
FAST void dense_rows(const Packed &matrix, const uint16_t *x, uint16_t *out, int64_t first, int64_t last) {
  const int64_t columns = matrix.columns, words = (columns + 31) / 32;
  const uint32_t end = last_columns(columns);
  for (int64_t row = first; row < last; ++row) {
    const uint16_t *values = (const uint16_t *)matrix.values + row * columns;
    __m512 even[BATCH], odd[BATCH];
    for (int b = 0; b < BATCH; ++b) even[b] = odd[b] = _mm512_setzero_ps();
    int64_t word = 0;
    for (; word + 2 < words; word += 2) {
      const uint16_t *place = values + word * 32;
      _mm_prefetch((const char *)place + AHEAD, _MM_HINT_T0);
      _mm_prefetch((const char *)place + AHEAD + 64, _MM_HINT_T0);
      const __m512bh w0 = (__m512bh)load16(place), w1 = (__m512bh)load16(place + 32);
      for (int b = 0; b < BATCH; ++b) {
        const uint16_t *vector = x + b * columns + word * 32;
        even[b] = _mm512_dpbf16_ps(even[b], w0, (__m512bh)load16(vector));
        odd[b] = _mm512_dpbf16_ps(odd[b], w1, (__m512bh)load16(vector + 32));
      }
    }
    for (; word < words; ++word) {
      const uint32_t some = word + 1 == words ? end : ~0u;
      const __m512bh w = (__m512bh)load16(values + word * 32, some);
      for (int b = 0; b < BATCH; ++b)
        even[b] = _mm512_dpbf16_ps(even[b], w, (__m512bh)load16(x + b * columns + word * 32, some));
    }
    for (int b = 0; b < BATCH; ++b) {
      const float sum = _mm512_reduce_add_ps(_mm512_add_ps(even[b], odd[b]));
      out[b * matrix.rows + row] = rounded(matrix.bias ? sum + matrix.bias[row] : sum);
    }
  }
}

// Put the values of rows, of 1 or 2 bytes each, in their places in out [last - first, columns].
FAST void expand_rows(const Packed &matrix, int64_t size, char *out, int64_t first, int64_t last) {
  const int64_t words = (matrix.columns + 31) / 32;
  const uint32_t end = last_columns(matrix.columns);
  const uint32_t *mask = matrix.mask + first * words;
  const char *values = (const char *)matrix.values + size * matrix.starts[first];
  for (int64_t row = first; row < last; ++row, mask += words, out += size * matrix.columns) {
    for (int64_t word = 0; word < words; ++word) {
      const uint32_t m = mask[word], columns = word + 1 == words ? end : ~0u;
      char *place = out + size * 32 * word;
      if (size == 2)
        _mm512_mask_storeu_epi16(place, columns, _mm512_maskz_expand_epi16(m, _mm512_loadu_si512(values)));
      else
        _mm256_mask_storeu_epi8(place, columns,
                                _mm256_maskz_expand_epi8(m, _mm256_loadu_si256((const __m256i *)values)));
      values += size * __builtin_popcount(m);
    }
  }
}

template <typename In, typename Out> using Rows = void (*)(const Packed &, const In *, Out *, int64_t, int64_t);
using Brief = Rows<uint16_t, uint16_t>;
using Float = Rows<float, float>;

template <int... BATCH> struct Of {};
using Batches = Of<1, 2, 3, 4, 5, 6, 7, 8>;

// The functions for each number of vectors, of which `batch` picks one.
template <int... B> Brief brief_for(int64_t batch, Of<B...>) {
  static const Brief all[] = {brief_rows<B>...};
  return all[batch - 1];
}
template <int... B> Brief dense_for(int64_t batch, Of<B...>) {
  static const Brief all[] = {dense_rows<B>...};
  return all[batch - 1];
}
template <int64_t KIND, int... B> Float float_for(int64_t batch, Of<B...>) {
  static const Float all[] = {float_rows<KIND, B>...};
  return all[batch - 1];
}
Float float_for(int64_t kind, int64_t batch) {
  switch (kind) {
    case FLOAT16: return float_for<FLOAT16>(batch, Batches());
    case FLOAT32: return float_for<FLOAT32>(batch, Batches());
    case INT8: return float_for<INT8>(batch, Batches());
    default: return float_for<BFLOAT16>(batch, Batches());
  }
}

template <typename In, typename Out>
void product(Rows<In, Out> rows, const Packed &matrix, const void *x, void *out, int64_t threads) {
  in_parallel(matrix.rows, threads,
              [&](int64_t first, int64_t last) { rows(matrix, (const In *)x, (Out *)out, first, last); });
}

#endif

}  // namespace

extern "C" {

// Whether this CPU, and its operating system, has what the kernels need. Nothing else may be called if it has not.
int64_t prunebench_usable() {
#ifdef PRUNEBENCH_X86
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vbmi2") &&
         __builtin_cpu_supports("avx512bf16");
#else
  return 0;
#endif
}

#ifdef PRUNEBENCH_X86

// x bfloat16 [batch, columns] -> out bfloat16 [batch, rows], for bfloat16 values; 1 <= batch <= 8.
void prunebench_brief(const Packed *matrix, const void *x, void *out, int64_t batch, int64_t threads) {
  product(brief_for(batch, Batches()), *matrix, x, out, threads);
}

// x float32 [batch, columns] -> out float32 [batch, rows], for values of `kind`; 1 <= batch <= 8.
void prunebench_float(const Packed *matrix, const void *x, void *out, int64_t batch, int64_t threads, int64_t kind) {
  product(float_for(kind, batch), *matrix, x, out, threads);
}

// As prunebench_brief, for a dense matrix: `values` are bfloat16 [rows, columns], and nothing of them is read beyond.
void prunebench_dense(const Packed *matrix, const void *x, void *out, int64_t batch, int64_t threads) {
  product(dense_for(batch, Batches()), *matrix, x, out, threads);
}

// Write rows first to last, whose values have `size` bytes (1 or 2), densely to out [last - first, columns].
void prunebench_expand(const Packed *matrix, void *out, int64_t size, int64_t first, int64_t last, int64_t threads) {
  in_parallel(last - first, threads, [&](int64_t from, int64_t to) {
    expand_rows(*matrix, size, (char *)out + from * size * matrix->columns, first + from, first + to);
  });
}

#endif
}
