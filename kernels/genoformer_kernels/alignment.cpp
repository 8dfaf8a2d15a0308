// The alignment loss and its gradient on a CPU: an example in each lane of a vector, and such groups shared among
// threads. An example's numbers depend neither on its neighbours nor on the number of threads.
//
// Per group, all of it in a thread's own memory: a column's costs [L][5], the table's anti-diagonals k = i + j one
// after the other, and two numbers a cell from which the way back reads the three softmin weights. A cell's two
// smaller weights are stored, with sign bits that say which move is the cheapest; its weight is what is missing to 1.
// All three so keep their relative precision, which matters: the gradient divides them by probabilities down to 1e-7.
//
// A weight depends on the difference of two values over the temperature, and float32 would round values of some hundred
// nats by as much as 1e-4 of a weight at a temperature of 0.1. So a value is kept in two floats: a whole number of units
// and a part of one, where a unit is T log 2 (a factor of two in a weight), or log 2 under the hard minimum.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <new>
#include <thread>
#include <vector>

#if defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__SSE__)
#include <xmmintrin.h>
#endif

extern "C" {
struct AlignmentTask {
    const float* probs;  // [B, L, 5]
    int64_t probs_stride[3];
    const int64_t* labels;  // [B, M], 0 for a gap, else 1 .. 4
    int64_t labels_stride[2];
    int64_t batch, num_bases, num_columns;
    float deletion_cost;
    float temperature;  // 0 for the hard minimum
    float* loss;        // [B]
    float* gradient;    // [B, L, 5] or null
    float* posterior;   // [B, M, L] or null
    int64_t num_threads;
    // GOMP_parallel of the OpenMP library that torch runs on, or null: runs the function in every thread of a team.
    void (*parallel)(void (*function)(void*), void* argument, unsigned num_threads, unsigned flags);
};
}

namespace {

enum Status { kDone, kNoMemory, kUnknownSymbol };
struct UnknownSymbol {};  // in a label

// As wide as the processor: compilers take a wider vector apart into single numbers.
#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
constexpr int kClasses = 5;
constexpr int kGap = 0;
constexpr float kMinProb = 1e-7f;
constexpr float kMaxProb = 1.0f - 1e-7f;
constexpr double kLn2 = 0.693147180559945309;
constexpr int32_t kSignBit = std::numeric_limits<int32_t>::min();

typedef float Floats __attribute__((vector_size(4 * kLanes)));
typedef int32_t Ints __attribute__((vector_size(4 * kLanes)));

#define INLINE __attribute__((always_inline)) static inline

INLINE Floats all(float value) { return Floats{} + value; }
INLINE Ints bits(Floats x) { return (Ints)x; }
INLINE Floats from_bits(Ints x) { return (Floats)x; }

const float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number

#if defined(__AVX512F__)
INLINE Floats rounded(Floats x) { return (Floats)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT); }
#else
INLINE Floats rounded(Floats x) { return (x + kMagic) - kMagic; }
#endif

// 1 / x of a positive x within 2^-23 of itself; a division takes the time of ten products.
INLINE Floats reciprocal(Floats x) {
#if defined(__AVX512F__)
    const Floats rough = (Floats)_mm512_rcp14_ps((__m512)x);
    return rough * (2.0f - x * rough);
#else
    return 1.0f / x;
#endif
}

INLINE Floats magnitude(Floats x) { return from_bits(bits(x) & ~kSignBit); }

// 2^x for x <= 0, exactly 1 for 0 and exactly 0 below 2^-126; relative error 5e-9 before rounding.
INLINE Floats exp2_of_negative(Floats x) {
#if defined(__AVX512F__)
    const Floats whole = rounded(x), f = x - whole;  // -0.5 .. 0.5
#else
    const Floats lowest = all(-126.0f);
    const Floats clamped = x < lowest ? lowest : x;
    const Floats shifted = clamped + kMagic;
    const Floats f = clamped - (shifted - kMagic);  // -0.5 .. 0.5
#endif
    Floats p = all(0.0001545316295f);
    p = p * f + 0.001339086336f;
    p = p * f + 0.009618082557f;
    p = p * f + 0.05550357114f;
    p = p * f + 0.2402265076f;
    p = p * f + 0.693147188f;
    p = p * f + 1.0f;
#if defined(__AVX512F__)
    return (Floats)_mm512_scalef_ps((__m512)p, (__m512)whole);  // what underflows is flushed to zero
#else
    const Ints exponent = bits(shifted) - bits(all(kMagic));
    const Floats y = from_bits(bits(p) + (exponent << 23));
    return x < lowest ? Floats{} : y;
#endif
}

// log2 x of a normal positive x, as exponent + part with the part in -0.5 .. 0.5, whose error is 3e-8 of itself.
struct Logarithm {
    Floats exponent, part;
};

INLINE Logarithm log2_of_positive(Floats x) {
    const Ints exponent = (bits(x) - 0x3f3504f3) >> 23;  // of x over the root of 1/2
    const Floats u = from_bits(bits(x) - (exponent << 23)) - 1.0f;  // -0.293 .. 0.414
    Floats p = all(0.125836615f);
    p = p * u - 0.2072694281f;
    p = p * u + 0.2157156087f;
    p = p * u - 0.2389448682f;
    p = p * u + 0.2879162535f;
    p = p * u - 0.3607036811f;
    p = p * u + 0.4809106427f;
    p = p * u - 0.7213473468f;
    p = p * u + 1.442695004f;
    return {__builtin_convertvector(exponent, Floats), p * u};
}

// whole + part, with the part in -0.5 .. 0.5 once `normal`.
struct Value {
    Floats whole, part;
};

INLINE Value operator+(const Value& x, const Value& y) { return {x.whole + y.whole, x.part + y.part}; }
INLINE Floats operator-(const Value& x, const Value& y) { return (x.whole - y.whole) + (x.part - y.part); }
INLINE Value choose(Ints condition, const Value& x, const Value& y) {
    return {condition ? x.whole : y.whole, condition ? x.part : y.part};
}
INLINE Value normal(const Value& x) {
    const Floats carry = rounded(x.part);
    return {x.whole + carry, x.part - carry};
}
Value value_of(double number) {
    const double whole = std::nearbyint(number);
    return {all(static_cast<float>(whole)), all(static_cast<float>(number - whole))};
}

// Under the hard minimum parts are multiples of 2^-23: sums are exact, and equal paths tie in whatever order they add.
INLINE Value rough(const Value& x) { return {x.whole, (x.part + 1.5f) - 1.5f}; }
double rough(double number) { return std::nearbyint(number * 8388608.0) / 8388608.0; }

struct Weights {
    Floats first, second;  // of the two moves that are not the cheapest, in the order substitution, insertion, deletion
};

// The minimum of three moves; the lower one wins a tie for "cheapest", and tied weights come out equal.
template <bool kHard>
INLINE Value minimum(const Value& substitution, const Value& insertion, const Value& deletion, Weights* weights) {
    const Floats over_insertion = substitution - insertion;
    const Floats over_deletion = substitution - deletion;
    const Floats insertion_over_deletion = insertion - deletion;
    const Ints is_substitution = (over_insertion <= 0) & (over_deletion <= 0);
    const Ints is_insertion = ~is_substitution & (insertion_over_deletion <= 0);
    const Ints is_deletion = ~(is_substitution | is_insertion);
    const Value least = choose(is_substitution, substitution, choose(is_insertion, insertion, deletion));
    const Floats x = magnitude(is_deletion ? over_deletion : over_insertion);
    const Floats y = magnitude(is_substitution ? over_deletion : insertion_over_deletion);
    const Floats ex = kHard ? (x == 0 ? all(1.0f) : Floats{}) : exp2_of_negative(-x);
    const Floats ey = kHard ? (y == 0 ? all(1.0f) : Floats{}) : exp2_of_negative(-y);
    const Floats total = 1.0f + ex + ey;
    if (weights) {
        const Floats share = reciprocal(total);
        weights->first = from_bits(bits(ex * share) | (is_substitution & kSignBit));
        weights->second = from_bits(bits(ey * share) | (is_insertion & kSignBit));
    }
    if (kHard) return normal(least);
    const Logarithm gain = log2_of_positive(total);
    return normal({least.whole - gain.exponent, least.part - gain.part});
}

struct Moves {
    Floats substitution, insertion, deletion;
};

INLINE Moves read_weights(const Weights& weights) {
    const Ints is_substitution = bits(weights.first) < 0;
    const Ints is_insertion = bits(weights.second) < 0;
    const Floats x = from_bits(bits(weights.first) & ~kSignBit);
    const Floats y = from_bits(bits(weights.second) & ~kSignBit);
    const Floats largest = 1.0f - (x + y);
    return {is_substitution ? largest : x, is_substitution ? x : (is_insertion ? largest : y),
            (is_substitution | is_insertion) ? y : largest};
}

template <typename T>
class Array {
  public:
    explicit Array(int64_t size)
        : data_(static_cast<T*>(std::aligned_alloc(alignof(T), std::max<int64_t>(size, 1) * sizeof(T)))) {
        if (!data_) throw std::bad_alloc();
    }
    ~Array() { std::free(data_); }
    Array(const Array&) = delete;
    Array& operator=(const Array&) = delete;
    T& operator[](int64_t index) { return data_[index]; }
    const T& operator[](int64_t index) const { return data_[index]; }
    T* at(int64_t index) { return data_ + index; }

  private:
    T* data_;
};

// The examples of one vector through the table.
class Group {
  public:
    explicit Group(const AlignmentTask& task)
        : task_(task), M_(task.num_bases), L_(task.num_columns), soft_(task.temperature > 0),
          saves_(task.gradient || task.posterior), unit_(soft_ ? task.temperature * kLn2 : kLn2), probs_(L_ * kClasses), factor_(L_),
          cost_(L_ * kClasses),
          bases_(M_ + 1), top_(L_ + 1), left_(M_ + 1), before_(M_ + 1), previous_(M_ + 1), current_(M_ + 1),
          visits_(M_ + 1), weights_(saves_ ? M_ * L_ : 0) {
        const double deletion = task.deletion_cost / unit_;
        for (int64_t i = 0; i <= M_; ++i) left_[i] = value_of(i * (soft_ ? deletion : rough(deletion)));
    }

    void run(int64_t first) {
        first_ = first;
        read_labels();
        read_probs();
        read_columns();
        soft_ ? (saves_ ? forward<false, true>() : forward<false, false>())
              : (saves_ ? forward<true, true>() : forward<true, false>());
        for (int lane = 0; lane < lanes(); ++lane)
            task_.loss[first_ + lane] =
                static_cast<float>((static_cast<double>(end_.whole[lane]) + end_.part[lane]) * unit_) + poison_[lane];
        if (!saves_) return;
        task_.posterior ? backward<true>() : backward<false>();
        if (task_.gradient) write_gradient();
        if (task_.posterior) write_posterior();
    }

  private:
    int lanes() const { return static_cast<int>(std::min<int64_t>(kLanes, task_.batch - first_)); }
    // Lanes beyond the batch repeat its last example; their results are dropped.
    int64_t example(int lane) const { return std::min(first_ + lane, task_.batch - 1); }

    void read_labels() {
        longest_ = 0;
        for (int lane = 0; lane < kLanes; ++lane) {
            const int64_t* label = task_.labels + example(lane) * task_.labels_stride[0];
            int32_t length = 0;
            for (int64_t i = 0; i < M_; ++i) {
                const int64_t symbol = label[i * task_.labels_stride[1]];
                if (symbol < 0 || symbol >= kClasses) throw UnknownSymbol();
                if (symbol != kGap) bases_[++length][lane] = static_cast<int32_t>(symbol);
            }
            for (int64_t i = length + 1; i <= M_; ++i) bases_[i][lane] = kGap;
            length_[lane] = length;
            longest_ = std::max<int64_t>(longest_, length);
        }
    }

    // Predictions side by side: what a group reads lane by lane it reads once.
    void read_probs() {
        for (int lane = 0; lane < kLanes; ++lane) {
            const float* source = task_.probs + example(lane) * task_.probs_stride[0];
            for (int64_t j = 0; j < L_; ++j)
                for (int c = 0; c < kClasses; ++c)
                    probs_[j * kClasses + c][lane] = source[j * task_.probs_stride[1] + c * task_.probs_stride[2]];
        }
    }

    // Renormalises a column in place and keeps the factor.
    void renormalise(int64_t column) {
        Floats* q = probs_.at(column * kClasses);
        Floats total{};
        for (int c = 0; c < kClasses; ++c) total += q[c];
        factor_[column] = 1.0f / total;
        for (int c = 0; c < kClasses; ++c) q[c] *= factor_[column];
    }

    // Costs over the unit: -log2 p where the unit is log 2, that over T in a soft table.
    void read_columns() {
        const double scale = soft_ ? 1.0 / task_.temperature : 1.0;
        int exponent = 0;
        const double mantissa = std::frexp(scale, &exponent);
        const double head = std::ldexp(std::nearbyint(std::ldexp(mantissa, 12)), exponent - 12);  // twelve bits
        const Floats high = all(static_cast<float>(head)), low = all(static_cast<float>(scale - head));
        poison_ = Floats{};
        top_[0] = {Floats{}, Floats{}};
        for (int64_t j = 0; j < L_; ++j) {
            renormalise(j);
            const Floats* q = probs_.at(j * kClasses);
            for (int c = 0; c < kClasses; ++c) {
                poison_ += q[c] - q[c];  // NaN where q is
                const Floats clipped = q[c] < kMinProb ? all(kMinProb) : (q[c] > kMaxProb ? all(kMaxProb) : q[c]);
                const Logarithm log = log2_of_positive(clipped);
                const Floats product = log.exponent * high, whole = rounded(product);  // both exact
                const Floats rest = log.exponent * low + log.part * (high + low);
                const Value cost = normal(normal({-whole, -((product - whole) + rest)}));
                cost_[j * kClasses + c] = soft_ ? cost : rough(cost);
            }
            top_[j + 1] = normal(top_[j] + cost_[j * kClasses + kGap]);
        }
    }

    template <bool kHard, bool kSave>
    void forward() {
        const Value deletion = left_[std::min<int64_t>(1, M_)];
        before_[0] = {Floats{}, Floats{}};
        previous_[0] = top_[1];
        if (longest_) previous_[1] = deletion;
        Value *before = before_.at(0), *previous = previous_.at(0), *current = current_.at(0);
        end_ = top_[L_];
        for (int64_t k = 2; k <= longest_ + L_; ++k) {
            const int64_t low = std::max<int64_t>(1, k - L_), high = std::min(longest_, k - 1);
            for (int64_t i = low; i <= high; ++i) {
                const Value* cost = cost_.at((k - i - 1) * kClasses);
                const Ints base = bases_[i];
                const Value emit = choose(base == 1, cost[1], choose(base == 2, cost[2], choose(base == 3, cost[3], cost[4])));
                Weights* weights = kSave ? weights_.at((k - i - 1) * M_ + i - 1) : nullptr;
                current[i] = minimum<kHard>(before[i - 1] + emit, previous[i] + cost[kGap], previous[i - 1] + deletion,
                                            weights);
            }
            if (k <= L_) current[0] = top_[k];
            if (high < longest_) current[high + 1] = left_[high + 1];
            if (k > L_) end_ = choose(length_ == static_cast<int32_t>(low), current[low], end_);
            std::swap(before, previous);
            std::swap(previous, current);
        }
    }

    // From the last column to the first; `visits_` holds what cells of the column receive from the one to the right.
    template <bool kKeep>
    void backward() {
        for (int64_t i = 0; i <= longest_; ++i)
            visits_[i] = length_ == static_cast<int32_t>(i) ? all(1.0f) : Floats{};
        for (int64_t j = L_ - 1; j >= 0; --j) {
            Floats emitted[kClasses] = {};
            Floats from_below{}, substituted{};
            for (int64_t i = longest_; i >= 1; --i) {
                Weights* weights = weights_.at(j * M_ + i - 1);
                const Moves share = read_weights(*weights);
                const Floats visits = visits_[i] + from_below;
                const Floats inserted = visits * share.insertion;
                visits_[i] = inserted + substituted;
                from_below = visits * share.deletion;
                substituted = visits * share.substitution;
                if (kKeep) weights->first = substituted;
                emitted[kGap] += inserted;
                const Ints base = bases_[i];
                for (int c = 1; c < kClasses; ++c) emitted[c] += base == c ? substituted : Floats{};
            }
            const Floats visits = visits_[0] + from_below;  // row 0, where every column emits a gap
            visits_[0] = visits + substituted;
            emitted[kGap] += visits;
            if (task_.gradient) keep_gradient(j, emitted);
        }
    }

    // Through -log, clipping (nothing passes outside) and renormalisation; in place of the column's predictions.
    void keep_gradient(int64_t column, Floats* emitted) {
        Floats* q = probs_.at(column * kClasses);
        Floats kept{};
        for (int c = 0; c < kClasses; ++c) {
            const Ints inside = (q[c] >= kMinProb) & (q[c] <= kMaxProb);
            kept += emitted[c] = inside ? emitted[c] : Floats{};
            emitted[c] = inside ? emitted[c] / q[c] : Floats{};
        }
        for (int c = 0; c < kClasses; ++c) q[c] = (kept - emitted[c]) * factor_[column] + poison_;
    }

    void write_gradient() {
        const int64_t size = L_ * kClasses;
        for (int lane = 0; lane < lanes(); ++lane) {
            float* target = task_.gradient + (first_ + lane) * size;
            for (int64_t x = 0; x < size; ++x) target[x] = probs_[x][lane];
        }
    }

    void write_posterior() {
        for (int lane = 0; lane < lanes(); ++lane)
            for (int64_t i = 0; i < M_; ++i)
                for (int64_t j = 0; j < L_; ++j)
                    task_.posterior[((first_ + lane) * M_ + i) * L_ + j] =
                        (i < longest_ ? weights_[j * M_ + i].first[lane] : 0.0f) + poison_[lane];
    }

    const AlignmentTask& task_;
    const int64_t M_, L_;
    const bool soft_, saves_;
    const double unit_;  // of table values, in nats
    Array<Floats> probs_;  // [L][5], renormalised; their gradient in the end
    Array<Floats> factor_;  // [L], of the renormalisation
    Array<Value> cost_;  // [L][5]
    Array<Ints> bases_;  // base i at [i], gaps removed
    Array<Value> top_, left_;  // row 0 and column 0
    Array<Value> before_, previous_, current_;  // anti-diagonals k - 2, k - 1 and k, by i
    Array<Floats> visits_;
    Array<Weights> weights_;  // [L][M]
    int64_t first_ = 0, longest_ = 0;
    Ints length_{};
    Value end_{};
    Floats poison_{};
};

// Products that underflow are worth nothing here, and some processors take a hundred times longer over them.
class FlushToZero {
#if defined(__SSE__)
  public:
    FlushToZero() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
    ~FlushToZero() { _mm_setcsr(saved_); }

  private:
    const unsigned saved_;
#endif
};

// What threads share: each takes the next group until none is left.
struct Work {
    const AlignmentTask& task;
    std::atomic<int64_t> next{0};
    std::atomic<int> status{kDone};
};

void run_groups(void* argument) {
    Work& work = *static_cast<Work*>(argument);
    const FlushToZero flush;
    try {
        Group group(work.task);
        for (int64_t first; (first = kLanes * work.next++) < work.task.batch;) group.run(first);
    } catch (const UnknownSymbol&) {
        work.status = kUnknownSymbol;
    } catch (...) {
        work.status = kNoMemory;
    }
}

void run_in_own_threads(Work& work, int64_t num_threads) {
    std::vector<std::thread> others;
    try {
        for (int64_t n = 1; n < num_threads; ++n) others.emplace_back(run_groups, &work);
    } catch (...) {  // no more threads to be had: those that started, and this one, do the work
    }
    run_groups(&work);
    for (std::thread& other : others) other.join();
}

}  // namespace

extern "C" int genoformer_align(const AlignmentTask* task) {
    Work work{*task};
    const int64_t num_groups = (task->batch + kLanes - 1) / kLanes;
    const int64_t num_threads = std::max<int64_t>(1, std::min(task->num_threads, num_groups));
    if (num_threads > 1 && task->parallel)
        task->parallel(run_groups, &work, static_cast<unsigned>(num_threads), 0);
    else
        run_in_own_threads(work, num_threads);
    return work.status;
}
