// What a training step computes element by element, each in one pass over memory. `build.py` builds a library of this
// file for each number format, where there is a compiler; `compiled.py` calls it; `plain.py` says what each function
// computes, and does so in torch.
//
// Numbers are computed in float. A matrix whose rows may lie apart is a pointer and the distance from row to row. Each
// row is computed by one thread in one order, so results do not depend on the number of threads. Nothing is allocated
// here: what helpers allocate, at moments of their own, leaves holes among the blocks of a step.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <omp.h>

namespace {

struct bfloat16 {
    uint16_t bits;
};

#ifdef NUMBER_BFLOAT16
using number = bfloat16;
#else
using number = float;
#endif

inline float load(float x) { return x; }
inline float load(bfloat16 x) {
    const uint32_t bits = uint32_t(x.bits) << 16;
    float found;
    std::memcpy(&found, &bits, 4);
    return found;
}
inline void store(float &place, float x) { place = x; }
inline void store(bfloat16 &place, float x) { // to the nearest, of two as near to the even one
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    place.bits = uint16_t(x == x ? rounded : 0x7fc0);
}

// Sixteen numbers at once, in as many registers as that takes: a sum or maximum of short rows, which compilers otherwise
// gather from memory lane by lane.
constexpr int64_t LANES = 16;
typedef float floats __attribute__((vector_size(LANES * 4)));
typedef int32_t integers __attribute__((vector_size(LANES * 4)));
typedef uint32_t words __attribute__((vector_size(LANES * 4)));
typedef uint16_t halves __attribute__((vector_size(LANES * 2)));
constexpr integers COUNTED = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

inline floats load_lanes(const float *from) {
    floats found;
    std::memcpy(&found, from, sizeof found);
    return found;
}
inline floats load_lanes(const bfloat16 *from) {
    halves bits;
    std::memcpy(&bits, from, sizeof bits);
    return floats(__builtin_convertvector(bits, words) << 16);
}
inline void store_lanes(float *place, floats x) { std::memcpy(place, &x, sizeof x); }
inline void store_lanes(bfloat16 *place, floats x) {
    const words bits = words(x), rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    const halves found = __builtin_convertvector(x == x ? rounded : words{} + 0x7fc0, halves);
    std::memcpy(place, &found, sizeof found);
}
inline floats load_few(const number *from, int64_t count) {
    floats found{};
    for (int64_t i = 0; i < count; i++) found[i] = load(from[i]);
    return found;
}
inline void store_few(number *place, floats x, int64_t count) {
    for (int64_t i = 0; i < count; i++) store(place[i], x[i]);
}
template <class Join> inline float join_lanes(floats x, Join join) {
    for (int64_t half = LANES / 2; half > 0; half /= 2)
        for (int64_t i = 0; i < half; i++) x[i] = join(x[i], x[i + half]);
    return x[0];
}
inline floats higher(floats x, floats y) { return x > y ? x : y; }
inline int32_t to_integer(float x) { return int32_t(x); }
inline integers to_integer(floats x) { return __builtin_convertvector(x, integers); }

// e^x, to the last digit or two (Cephes), of a float or of some. NaN stays NaN; what is beyond float's range ends at it.
template <class Number> inline Number exponential(Number x) {
    const Number zero{};
    x = x < zero - 87.3f ? zero - 87.3f : x;
    x = x > zero + 88.7f ? zero + 88.7f : x;
    const Number whole = (x * 1.44269504f + 12582912.0f) - 12582912.0f;
    const Number rest = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Number found = zero + 1.9875691500e-4f;
    found = found * rest + 1.3981999507e-3f;
    found = found * rest + 8.3334519073e-3f;
    found = found * rest + 4.1665795894e-2f;
    found = found * rest + 1.6666665459e-1f;
    found = found * rest + 5.0000001201e-1f;
    found = found * rest * rest + rest + 1.0f;
    const auto bits = (to_integer(whole) + 127) << 23;
    Number power;
    std::memcpy(&power, &bits, sizeof power);
    return found * power;
}

inline float logistic(float x) { return 1.0f / (1.0f + exponential(-x)); }

constexpr int64_t WORTH = 20000; // numbers from which a second thread pays

template <class Rows>
inline void each_row(int64_t count, int64_t width, int threads, Rows compute) {
#pragma omp parallel for num_threads(threads) schedule(static) if (count * width > WORTH)
    for (int64_t row = 0; row < count; row++) compute(row);
}

// One head, turned by its token's position; sign -1 turns back.
inline void turn(const number *from, const number *cos, const number *sin, number *to, int64_t size, float sign) {
    const int64_t half = size / 2;
#pragma omp simd
    for (int64_t i = 0; i < half; i++) {
        const float a = load(from[i]), b = load(from[i + half]);
        store(to[i], a * load(cos[i]) - sign * b * load(sin[i]));
        store(to[i + half], b * load(cos[i + half]) + sign * a * load(sin[i + half]));
    }
}

// The logarithm of a row's sum of exponentials.
inline float total_of(const number *row, int64_t width) {
    float most = -INFINITY, sum = 0;
#pragma omp simd reduction(max : most)
    for (int64_t i = 0; i < width; i++) most = std::max(most, load(row[i]));
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < width; i++) sum += exponential(load(row[i]) - most);
    return most + std::log(sum);
}

} // namespace

extern "C" {

void normalise(const number *x, int64_t of_x, const number *weight, number *out, int64_t of_out, float *scales,
               int64_t count, int64_t width, float epsilon, int threads) {
    each_row(count, width, threads, [=](int64_t row) {
        const number *from = x + row * of_x, *by = weight;
        number *to = out + row * of_out;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (int64_t i = 0; i < width; i++) sum += load(from[i]) * load(from[i]);
        const float scale = 1.0f / std::sqrt(sum / width + epsilon);
        scales[row] = scale;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) store(to[i], load(from[i]) * scale * load(by[i]));
    });
}

void add_norm_gradient(const number *x, int64_t of_x, const number *weight, const float *scales, const number *grad,
                       int64_t of_grad, const number *passed, int64_t of_passed, number *out, int64_t count,
                       int64_t width, int threads) {
    each_row(count, width, threads, [=](int64_t row) {
        const number *from = x + row * of_x, *back = grad + row * of_grad, *past = passed + row * of_passed;
        const number *by = weight;
        number *to = out + row * width;
        float dot = 0;
#pragma omp simd reduction(+ : dot)
        for (int64_t i = 0; i < width; i++) dot += load(back[i]) * load(by[i]) * load(from[i]);
        const float scale = scales[row], along = scale * scale * scale * dot / width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++)
            store(to[i], load(past[i]) + load(back[i]) * load(by[i]) * scale - load(from[i]) * along);
    });
}

void open_gate(const number *gate_up, number *out, int64_t of_out, int64_t count, int64_t width, int threads) {
    each_row(count, width, threads, [=](int64_t row) {
        const number *gate = gate_up + 2 * row * width, *up = gate + width;
        number *to = out + row * of_out;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            const float x = load(gate[i]);
            store(to[i], x * logistic(x) * load(up[i]));
        }
    });
}

void gate_gradient(const number *grad, int64_t of_grad, const number *gate_up, number *grad_gate_up, int64_t count,
                   int64_t width, int threads) {
    each_row(count, width, threads, [=](int64_t row) {
        const number *gate = gate_up + 2 * row * width, *up = gate + width, *back = grad + row * of_grad;
        number *of_gate = grad_gate_up + 2 * row * width, *of_up = of_gate + width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) {
            const float x = load(gate[i]), open = logistic(x), g = load(back[i]);
            store(of_up[i], g * x * open);
            store(of_gate[i], g * load(up[i]) * open * (1.0f + x * (1.0f - open)));
        }
    });
}

void turn_heads(const number *heads, const int64_t *index, const number *cos_q, const number *sin_q,
                const number *cos_k, const number *sin_k, number *out, int64_t count, int64_t queries, int64_t keys,
                int64_t size, int back, int threads) {
    const int64_t heads_of_token = queries + 2 * keys;
    each_row(count, size, threads, [=](int64_t row) {
        const int64_t place = back ? row : index[row];
        const int64_t token = place / heads_of_token, head = place % heads_of_token;
        const number *from = heads + index[row] * size;
        number *to = out + row * size;
        if (head < queries)
            turn(from, cos_q + token * size, sin_q + token * size, to, size, back ? -1.0f : 1.0f);
        else if (head < queries + keys)
            turn(from, cos_k + token * size, sin_k + token * size, to, size, back ? -1.0f : 1.0f);
        else
            std::copy(from, from + size, to);
    });
}

void add_rows(number *matrix, const int64_t *to, const int64_t *from, int64_t count, int64_t width, int threads) {
    each_row(count, width, threads, [=](int64_t row) {
        number *sum = matrix + to[row] * width;
        const number *added = matrix + from[row] * width;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) store(sum[i], load(sum[i]) + load(added[i]));
    });
}

// room: `keys` numbers for each thread, and as many more as make them a multiple of LANES
void weigh(number *scores, float *room, int64_t heads, int64_t queries, int64_t groups, int64_t keys, int64_t start,
           int threads) {
    const int64_t width = (keys + LANES - 1) / LANES * LANES;
    each_row(heads * queries, groups * keys, threads, [=](int64_t query) {
        float *powers = room + omp_get_thread_num() * width;
        const int64_t seen = start + query % queries + 1;
        const floats nothing = floats{} - INFINITY;
        for (int64_t row = query * groups; row < (query + 1) * groups; row++) {
            number *part = scores + row * keys;
            floats most = nothing, sum = {};
            for (int64_t i = 0; i < seen; i += LANES) {
                floats score = i + LANES <= keys ? load_lanes(part + i) : load_few(part + i, keys - i);
                score = COUNTED < int32_t(seen - i) ? score : nothing;
                most = higher(most, score);
                store_lanes(powers + i, score);
            }
            const float highest = join_lanes(most, [](float x, float y) { return std::max(x, y); });
            for (int64_t i = 0; i < seen; i += LANES) {
                const floats score = load_lanes(powers + i);
                const floats power = score == nothing ? floats{} : exponential(score - highest); // no tiny numbers: they
                store_lanes(powers + i, power);                                                  // take 100 ns each
                sum += power;
            }
            const float share = 1.0f / join_lanes(sum, [](float x, float y) { return x + y; });
            for (int64_t i = 0; i < seen; i += LANES) {
                const floats weight = load_lanes(powers + i) * share;
                i + LANES <= keys ? store_lanes(part + i, weight) : store_few(part + i, weight, keys - i);
            }
            std::fill(part + std::min((seen + LANES - 1) / LANES * LANES, keys), part + keys, number{});
        }
    });
}

// room: `width` numbers for each thread, the highest logarithms that it has seen
void find_totals(const number *logits, float *room, int64_t count, int64_t width, float *totals, float *likeliest,
                 int threads) {
    std::fill(likeliest, likeliest + width, -INFINITY);
#pragma omp parallel num_threads(threads)
    {
        float *best = room + omp_get_thread_num() * width;
        std::fill(best, best + width, -INFINITY);
#pragma omp for schedule(static)
        for (int64_t row = 0; row < count; row++) {
            const number *part = logits + row * width;
            const float total = totals[row] = total_of(part, width);
            const int64_t tokens = width;
#pragma omp simd
            for (int64_t i = 0; i < tokens; i++) best[i] = std::max(best[i], load(part[i]) - total);
        }
#pragma omp critical
        for (int64_t i = 0; i < width; i++) likeliest[i] = std::max(likeliest[i], best[i]);
    }
    for (int64_t i = 0; i < width; i++) likeliest[i] = exponential(likeliest[i]);
}

void score(number *logits, int64_t count, int64_t width, const int64_t *labels, float *scores, int differentiates,
           int threads) {
    each_row(count, width, threads, [=](int64_t row) {
        number *part = logits + row * width;
        const float total = total_of(part, width);
        scores[row] = load(part[labels[row]]) - total;
        if (!differentiates) return;
#pragma omp simd
        for (int64_t i = 0; i < width; i++) store(part[i], -exponential(load(part[i]) - total));
        store(part[labels[row]], 1.0f - std::exp(scores[row]));
    });
}

} // extern "C"
